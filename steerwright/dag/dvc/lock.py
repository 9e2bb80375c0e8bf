"""What dvc.lock, the run-cache and the DVC cache hold, read without importing DVC."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
