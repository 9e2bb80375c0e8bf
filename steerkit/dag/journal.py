"""With STEERKIT_JOURNAL=FILE set, one line per computation that starts and ends; what benchmarks/crash.py counts."""

from __future__ import annotations

import os
import time
from typing import Literal


def note(what: Literal["started", "finished", "placed", "recorded"], stage: str, key: str) -> None:
    """Append one line, whole even when several processes write, if a journal was asked for."""
    path = os.environ.get("STEERKIT_JOURNAL")
    if not path:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{time.time():.3f} {what} {stage} {key}\n".encode())
    finally:
        os.close(descriptor)
