"""Is there anything to do at all? Answered by looking at sizes and times of files, in milliseconds.

After a complete run the engine notes the state of every file that the flow stands on. While none has moved, nothing
can have changed. A file that was only touched is no reason to run a stage either: then DVC looks at the contents.
This module, and what it imports, needs the standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from steerwright.dag import environment

VERSION = 2
ALWAYS = ("dvc.yaml", "dvc.lock", "params.yaml", "tasks")
SKIPPED = ("__pycache__",)


def signature(root: Path, paths: Iterable[str]) -> str:
    """One hash over inode, time of change and size of every file at or below ``paths``, absent ones included."""
    total = hashlib.sha256()
    for path in sorted(set(paths)):
        total.update(f"{path}\0".encode())
        _add(total, os.path.join(root, path))
    return total.hexdigest()


def note(
    root: Path,
    flow: str,
    paths: Iterable[str],
    told: dict[str, Any] | None = None,
    outside: dict[str, Any] | None = None,
) -> None:
    """Remember that everything ``flow`` stands on is up to date as it is now; ``told`` comes back from recall().

    ``outside``: what `environment.outside` found of the flow's stages.
    """
    from steerwright.dag.project import write_atomically

    every = sorted({*paths, *ALWAYS})
    record = {
        "version": VERSION,
        "paths": every,
        "signature": signature(root, every),
        "told": told or {},
        "outside": outside,
    }
    write_atomically(root, _file(root, flow), json.dumps(record))


def recall(root: Path, flow: str) -> dict[str, Any] | None:
    """What was told at the last complete run of ``flow`` if no file has moved since; else None."""
    try:
        record = json.loads(_file(root, flow).read_text(encoding="utf-8"))
        if record["version"] != VERSION or record["signature"] != signature(root, record["paths"]):
            return None
        if record["outside"] is not None and not environment.unmoved(root, record["outside"]):
            return None
        told: dict[str, Any] = record["told"]
        return told
    except (OSError, ValueError, KeyError, TypeError):
        return None


def in_words(flow: str, told: dict[str, Any]) -> str:
    """What to print when nothing has moved."""
    return f"{flow}: all is up to date, nothing to run.\n{report_lines(told)}"


def report_lines(told: dict[str, Any]) -> str:
    """The metrics and the page of a flow's report stage, one per line."""
    lines = [
        f"  {name}: {f'{value:.4g}' if isinstance(value, float) else value}\n"
        for name, value in told.get("metrics", {}).items()
    ]
    if "text" in told:
        lines.append(told["text"])
    if "page" in told:
        lines.append(f"Report: {told['page']}\n")
    return "".join(lines)


def _file(root: Path, flow: str) -> Path:
    return root / ".dvc" / "tmp" / "steerwright" / f"up-to-date.{flow}.json"


def _add(total: Any, path: str, above: tuple[tuple[int, int], ...] = ()) -> None:
    try:
        stat = os.stat(path)
    except OSError:
        total.update(b"absent\n")
        return
    if not os.path.isdir(path):
        total.update(f"{stat.st_ino} {stat.st_mtime_ns} {stat.st_size}\n".encode())
        return
    # A link back to a folder that holds it adds nothing, and would be followed for ever.
    if (identity := (stat.st_dev, stat.st_ino)) in above:
        return
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            if entry.name not in SKIPPED:
                total.update(f"{entry.name}\0".encode())
                _add(total, entry.path, (*above, identity))
