"""Writing dvc.lock: one entry is replaced in the text, and the file by one rename.

DVC's own writer truncates the file first, so that a kill leaves it empty, and parses all of it for every stage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steerwright.dag.declarations import RESERVED
from steerwright.dag.dvc.lock import entry_spans, stages_span
from steerwright.dag.project import state_folder, write_atomically

EMPTY = "schema: '2.0'\nstages:\n"
BEFORE_ENVIRONMENT = "lock-before-environment.json"
EARLIER_COMMAND = "python -m tasks "


def with_entry(text: str, name: str, block: str) -> str:
    """``text`` with the entry of one stage replaced, or added at the end; ``block`` is indented by two spaces."""
    if not block.endswith("\n"):
        block += "\n"
    spans = entry_spans(text)
    if name in spans:
        start, end = spans[name]
        return text[:start] + block + text[end:]
    span = stages_span(text)
    if span is None:
        # Also `stages: {}`, which DVC writes for a file that lost its last stage.
        kept = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("stages:"))
        return (kept or "schema: '2.0'\n") + "stages:\n" + block
    head = text[: span[1]]
    return head + ("" if head.endswith("\n") else "\n") + block + text[span[1] :]


def record(root: Path, name: str, block: str) -> None:
    """Replace one stage's entry in dvc.lock; the caller holds the repository's lock."""
    path = root / "dvc.lock"
    text = path.read_text(encoding="utf-8") if path.exists() else EMPTY
    write_atomically(root, path, with_entry(text, name, block))


def carry_over(root: Path, commands: Mapping[str, str]) -> None:
    """Records under the command that a stage had before it found its own python count under the one that it has now;
    the caller holds the engine's queue.
    """
    path = root / "dvc.lock"
    if not path.exists() or f"    cmd: {EARLIER_COMMAND}" not in path.read_text(encoding="utf-8", errors="replace"):
        return
    with repository_lock(root):
        text = before = path.read_text(encoding="utf-8")
        for name, command in commands.items():
            text = text.replace(f"    cmd: {EARLIER_COMMAND}{name}\n", f"    cmd: {command}\n")
        if text != before:
            write_atomically(root, path, text)


def note_before_environment(root: Path) -> None:
    """Remember the file before `dvc repro` writes it after the stage `environment`, although nothing changed."""
    path = root / "dvc.lock"
    if path.exists():
        said = {"digest": _digest_of_results(path), "at": path.stat().st_mtime_ns}
        write_atomically(root, state_folder(root) / BEFORE_ENVIRONMENT, json.dumps(said))


def recorded_at(root: Path, since: int) -> int | None:
    """When a result was last recorded, in ns; None without a dvc.lock. ``since``: the moment that is of interest.

    Since then `dvc repro` may have written the file for the stage `environment` alone.
    """
    path, before = root / "dvc.lock", state_folder(root) / BEFORE_ENVIRONMENT
    if not path.exists():
        return None
    if before.exists() and before.stat().st_mtime_ns > since:
        said = json.loads(before.read_text(encoding="utf-8"))
        if said["digest"] == _digest_of_results(path):
            return int(said["at"])
    return path.stat().st_mtime_ns


def _digest_of_results(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    start, end = entry_spans(text).get(RESERVED, (0, 0))
    return hashlib.sha256((text[:start] + text[end:]).encode()).hexdigest()


def repository_lock(root: Path) -> Any:
    """DVC's own lock: while it is held no `dvc` command writes dvc.lock or the run-cache."""
    from dvc.lock import make_lock

    folder = root / ".dvc" / "tmp"
    return make_lock(str(folder / "lock"), tmp_dir=str(folder), wait=True)
