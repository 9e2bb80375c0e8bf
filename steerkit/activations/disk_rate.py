"""How fast the disk gives the files of a store, read one after the other and nothing else: what a loader aspires to."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

_BLOCK = 8 << 20


def sequential_rate(paths: Sequence[Path], most_bytes: int = 256 << 20, *, cached: bool = False) -> float:
    """Bytes per second of reading `paths` front to back, `most_bytes` at most.

    Unless `cached`, what memory holds of them is dropped first (where the system can; it costs others nothing but
    time), so that the disk is measured. 0.0 for nothing to read.
    """
    memory = bytearray(_BLOCK)
    left, seconds, read = most_bytes, 0.0, 0
    for path in paths:
        if left <= 0:
            break
        with path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):
                if not cached:
                    os.posix_fadvise(file.fileno(), 0, left, os.POSIX_FADV_DONTNEED)
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            start = time.perf_counter()
            while left > 0 and (got := file.readinto(memory)):
                left, read = left - got, read + got
            seconds += time.perf_counter() - start
    return read / seconds if seconds else 0.0
