"""Writing dvc.lock: one entry is replaced in the text, and the file by one rename.

DVC's own writer truncates the file first, so that a kill leaves it empty, and parses all of it for every stage.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from steerwright.dag.declarations import RESERVED
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


# What dvc.lock, the run-cache and the DVC cache hold, read without importing DVC.

STAGES = re.compile(r"^stages:[ ]*\n", re.MULTILINE)
TOP_KEY = re.compile(r"^\S", re.MULTILINE)
ENTRY = re.compile(r"^  (?P<quote>['\"]?)(?P<name>[^\s:'\"]+)(?P=quote):\s*$", re.MULTILINE)


def stages_span(text: str) -> tuple[int, int] | None:
    """Where the entries of the stages begin and end in the text of a dvc.lock; None if it has no stages."""
    head = STAGES.search(text)
    if head is None:
        return None
    following = TOP_KEY.search(text, head.end())
    return head.end(), following.start() if following else len(text)


def entry_spans(text: str) -> dict[str, tuple[int, int]]:
    """Where each stage's entry, its name included, begins and ends in the text of a dvc.lock."""
    span = stages_span(text)
    if span is None:
        return {}
    marks = list(ENTRY.finditer(text, *span))
    ends = [*(mark.start() for mark in marks[1:]), span[1]][: len(marks)]
    return {mark["name"]: (mark.start(), end) for mark, end in zip(marks, ends, strict=True)}


def lock_entries(text: str) -> dict[str, str]:
    """The text of each stage's entry, undented, without parsing the whole file (ruamel would take 0.2 s)."""
    return {
        name: re.sub(r"^ {4}", "", text[start:end].partition("\n")[2], flags=re.MULTILINE)
        for name, (start, end) in entry_spans(text).items()
    }


def lock_entry(root: Path, stage: str) -> dict[str, Any] | None:
    """One stage's entry in dvc.lock; None if the file or the entry is missing or torn."""
    try:
        text = (root / "dvc.lock").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    block = lock_entries(text).get(stage)
    return None if block is None else parse_entry(block)


def parse_entry(text: str) -> dict[str, Any] | None:
    """A lock entry as a mapping; None unless it is whole (a command, and a path for every file)."""
    from ruamel.yaml import YAML, YAMLError

    try:
        entry = YAML(typ="safe").load(text)
    except YAMLError:
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("cmd"), str | list):
        return None
    for item in (*(entry.get("deps") or ()), *(entry.get("outs") or ())):
        if not isinstance(item, dict) or "path" not in item:
            return None
    return entry


def cache_folder(root: Path) -> Path:
    """The DVC cache of this project: .dvc/cache unless its configuration says otherwise."""
    folder = root / ".dvc" / "cache"
    for name in ("config", "config.local"):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            # DVC indents its keys; configparser would read them as a continuation.
            lines = (root / ".dvc" / name).read_text(encoding="utf-8").splitlines()
            parser.read_string("\n".join(line.strip() for line in lines))
        except (OSError, configparser.Error):
            continue
        said = parser.get("cache", "dir", fallback=None)
        if said:
            folder = (root / ".dvc" / said.strip("\"'")).resolve()
    return folder


def cached_file(root: Path, md5: str) -> Path:
    """Where the DVC cache keeps the content with this hash."""
    return cache_folder(root) / "files" / "md5" / md5[:2] / md5[2:]


def run_cache_folder(root: Path) -> Path:
    """Where DVC keeps what it remembers of finished runs."""
    return cache_folder(root) / "runs"


def newest_run(root: Path, command: str) -> dict[str, Any] | None:
    """The entry of the most recent finished run of this command, from the run-cache."""
    for _, path in sorted(_runs_of(root, command), reverse=True):
        entry = parse_entry(path.read_text(encoding="utf-8"))
        if entry is not None and entry["cmd"] == command and entry.get("outs"):
            return entry
    return None


def _runs_of(root: Path, command: str) -> Iterator[tuple[int, Path]]:
    wanted = f"cmd: {command}"
    for path in run_cache_folder(root).glob("??/*/*"):
        if path.name.endswith(".tmp"):
            continue
        try:
            if any(line.strip() == wanted for line in path.read_text(encoding="utf-8").splitlines()):
                yield path.stat().st_mtime_ns, path
        except (OSError, UnicodeDecodeError):
            continue
