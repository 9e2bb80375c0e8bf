"""Mending what kills, merges and disks leave behind: a torn dvc.lock or one with conflict markers, a broken rwlock,
half-written entries of the run-cache, damaged objects of the cache.

`dvc repro` truncates dvc.lock before it writes it and cannot be taught otherwise; the engine repairs when it starts,
and `steerwright repair` does it for those who use `dvc repro` alone.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steerwright.dag.dvc import cache_objects, lockfile
from steerwright.dag.dvc import lockfile as dvc_lock
from steerwright.dag.dvc.cache_objects import Damage
from steerwright.dag.project import queue, state_folder, write_atomically
from steerwright.errors import UserError

log = logging.getLogger(__name__)


def repair(root: Path) -> list[str]:
    """Mend what is broken, and say what was; the empty list when all was well.

    Of the cache it looks at the objects that a run can ask for, and reads those that are new and small or have moved.
    """
    said: list[str] = []
    said += _heal_without_git(root)
    with queue(root):
        said += _heal_lockfile(root)
    with queue(root, "rwlock"):
        said += heal_rwlock(root)
    said += _sweep(root)
    return said + cache_objects.in_words(check_cache(root, tell=log.warning))


def check_cache(root: Path, tell: Callable[[str], None] | None = None) -> list[Damage]:
    """Mend the objects that a run can ask for; of those it has not seen before it reads only the small ones."""
    return cache_objects.mend(root, cache_objects.check(root, cache_objects.recorded_names(root), tell=tell))


def repair_cache(root: Path, *, again: bool, tell: Callable[[str], None]) -> list[str]:
    """Read every object of the cache that was not read since it last moved, with ``again`` all of them."""
    names = cache_objects.all_names(root)
    damaged = cache_objects.check(root, names, about_to_use=True, again=again, tell=tell)
    return cache_objects.in_words(cache_objects.mend(root, damaged))


def heal_rwlock(root: Path) -> list[str]:
    """Remove .dvc/tmp/rwlock if it is not what DVC can read; the caller holds the engine's queue for it."""
    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.exists():
        return []
    from contextlib import nullcontext

    # Only DVC's own guard tells a broken file from one that is being written at this moment.
    guard: Any = nullcontext()
    if _rwlock_is_broken(path):
        from dvc.lock import make_lock

        guard = make_lock(str(path.parent / "rwlock.lock"), tmp_dir=str(path.parent), wait=True)
    with guard:
        if not _rwlock_is_broken(path):
            return []
        path.unlink(missing_ok=True)
    return ["removed .dvc/tmp/rwlock, which a killed run had left half-written"]


def _rwlock_is_broken(path: Path) -> bool:
    try:
        locks = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(locks, dict) or not set(locks) <= {"read", "write"}:
            return True
        infos = [*locks.get("write", {}).values(), *(info for many in locks.get("read", {}).values() for info in many)]
        return any(not isinstance(info.get("pid"), int) or not isinstance(info.get("cmd"), str) for info in infos)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError, TypeError):
        return True


def _heal_without_git(root: Path) -> list[str]:
    """DVC refuses a project without git (from an archive) unless its configuration says that there is none."""
    ours = state_folder(root) / "without-git"
    in_git = any((folder / ".git").exists() for folder in (root, *root.parents))
    if in_git != ours.exists():
        return []
    from dvc.config import Config
    from dvc.exceptions import DvcException

    try:
        with Config(str(root / ".dvc")).edit("local") as settings:
            if in_git:
                settings.get("core", {}).pop("no_scm", None)
            else:
                settings.setdefault("core", {})["no_scm"] = True
    except DvcException as error:
        raise UserError(f".dvc/config.local cannot be read: {error}") from error
    if in_git:
        ours.unlink()
        return ["there is a git repository now: took core.no_scm out of .dvc/config.local again"]
    ours.touch()
    return ["there is no git repository: set core.no_scm in .dvc/config.local, so that DVC works without one"]


def _heal_lockfile(root: Path) -> list[str]:
    path = root / "dvc.lock"
    if not path.exists() or not is_torn(path):
        return []
    # A `dvc` command may be writing it just now; with its lock in hand the file is as it will stay.
    with lockfile.repository_lock(root):
        if not is_torn(path):
            return []
        aside = state_folder(root) / f"dvc.lock.torn.{time.time_ns()}"
        broken = path.read_bytes().decode("utf-8", errors="ignore")
        merged = cache_objects.sides(broken)
        if merged is not None:
            text, said = _merge(root, *merged)
        else:
            text, kept = _rebuild(root, broken)
            said = f"dvc.lock was torn; rebuilt {kept} of its stages from what was remembered"
        aside.write_bytes(path.read_bytes())
        write_atomically(root, path, text)
    return [f"{said}; set the file as it was aside as {aside.relative_to(root)}"]


def _merge(root: Path, here: str, there: str) -> tuple[str, str]:
    """A dvc.lock from the two sides of a merge, and what to say. Of records that differ the one whose results are in
    the cache is kept, this side's first; it is checked against the files like any other, so that it cannot do harm.
    """
    sides = [
        {name: side[start:end] for name, (start, end) in dvc_lock.entry_spans(side).items()} for side in (here, there)
    ]
    text, told = lockfile.EMPTY, {"this side": 0, "the other side": 0, "neither": 0}
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        found = [(who, side[name]) for who, side in zip(told, sides, strict=False) if name in side]
        whole = [
            (who, block) for who, block in found if _looks_whole(dvc_lock.lock_entries(lockfile.EMPTY + block)[name])
        ]
        chosen = next((one for one in whole if _in_cache(root, one[1])), whole[0] if whole else ("neither", ""))
        text += chosen[1]
        if len({block for _, block in found}) > 1 or len(found) == 1:
            told[chosen[0]] += 1
    counts = ", ".join(f"{number} of {who}" for who, number in told.items() if number)
    return text, f"dvc.lock had conflict markers of a merge; of the records that differ it kept {counts or 'none'}"


def _in_cache(root: Path, block: str) -> bool:
    """Whether all outputs of a lock entry can be had from the cache."""
    text = block.partition("\n    outs:\n")[2]
    return all(dvc_lock.cached_file(root, name).exists() for name in cache_objects.NAME.findall(text))


def is_torn(path: Path) -> bool:
    """Whether dvc.lock is empty, cut short, or has a stage that is not whole; looks at the text before parsing it."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return True
    if not text.endswith("\n") or not text.startswith("schema:") or cache_objects.line(text) is not None:
        return True
    entries = dvc_lock.lock_entries(text)
    if not entries:
        return dvc_lock.stages_span(text) is not None
    # A cut is at the end; the stages before it were whole when DVC wrote them.
    last = list(entries.values())[-1]
    return dvc_lock.parse_entry(last) is None or not _looks_whole(last)


def _looks_whole(entry: str) -> bool:
    """A lock entry ends with its outputs, each with a hash and a path; one cut between lines lacks some of them."""
    parsed = dvc_lock.parse_entry(entry)
    if parsed is None or not parsed.get("outs"):
        return False
    return all(item.get("md5") or item.get("etag") or item.get("checksum") for item in parsed["outs"])


def _rebuild(root: Path, torn: str) -> tuple[str, int]:
    """A dvc.lock from the whole entries of the torn one, the run-cache, and the last commit; a stage's entry may be
    that of an earlier run: it is checked against the files like any other, so that it cannot do harm.
    """
    from dvc.utils.serialize import dumps_yaml
    from ruamel.yaml import YAML, YAMLError

    yaml_path = root / "dvc.yaml"
    try:
        stages = (YAML(typ="safe").load(yaml_path.read_text(encoding="utf-8")) or {}).get("stages") or {}
    except (OSError, YAMLError):
        stages = {}
    whole = {
        name: dvc_lock.parse_entry(block) for name, block in dvc_lock.lock_entries(torn).items() if _looks_whole(block)
    }
    committed = dvc_lock.lock_entries(_committed(root))
    text, kept = lockfile.EMPTY, 0
    for name in dict.fromkeys([*whole, *stages]):
        command = stages.get(name, {}).get("cmd")
        entry = whole.get(name)
        if entry is None and isinstance(command, str):
            entry = dvc_lock.newest_run(root, command)
        if entry is None and name in committed:
            entry = dvc_lock.parse_entry(committed[name])
        if entry is not None:
            block = dumps_yaml({"stages": {name: entry}}).partition("\n")[2]
            text, kept = lockfile.with_entry(text, name, block), kept + 1
    return (text if kept else "schema: '2.0'\n"), kept


def _committed(root: Path) -> str:
    try:
        shown = subprocess.run(
            ["git", "show", "HEAD:./dvc.lock"], cwd=root, capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return shown.stdout


def _sweep(root: Path) -> list[str]:
    """Remove files that a killed process was writing: the run-cache would take one for its newest entry."""
    removed = 0
    left = dvc_lock.run_cache_folder(root).glob("??/*/*.tmp")
    first = next(left, None)
    if first is not None:
        # A writer holds the repository's lock.
        with queue(root), lockfile.repository_lock(root):
            for path in (first, *left):
                path.unlink(missing_ok=True)
                removed += 1
    for path in state_folder(root).glob("*.*.*"):
        pid = path.name.rpartition(".")[2]
        if ".torn." not in path.name and pid.isdigit() and not Path("/proc", pid).exists() and os.path.isdir("/proc"):
            path.unlink(missing_ok=True)
    return [f"removed {removed} half-written entries of the run-cache"] if removed else []
