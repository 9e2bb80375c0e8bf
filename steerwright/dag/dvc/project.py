"""The project as DVC sees it: the only file that calls DVC, also by names that are not its public interface.

`tests/steerwright/dag/test_dvc_contract.py` holds each private name; pyproject.toml pins the version.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steerwright.dag import environment
from steerwright.dag.dvc import cache_objects, lockfile
from steerwright.dag.dvc import lockfile as dvc_lock
from steerwright.dag.outcome import OutputRecord
from steerwright.dag.project import queue
from steerwright.errors import UserError

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TRIES = 0.2
# An output of more bytes is a hard link to the cache, where two copies would cost time and disk; a process that writes
# into it writes into the cache, which is noticed when the object is used. A smaller one is a copy and can be written
# into.
LINKED_FROM = 256 << 20


class DvcProject:
    """One DVC repository object with what it has loaded; used by one thread at a time."""

    def __init__(self, root: Path) -> None:
        os.environ.setdefault("DVC_NO_ANALYTICS", "1")
        os.environ.setdefault("DO_NOT_TRACK", "1")
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        self.root = root
        try:
            # Never answer "busy" because a `dvc` command holds the lock for a moment.
            self.repo: Any = Repo(str(root), _wait_for_lock=True)
        except DvcException as error:
            raise UserError(f"DVC cannot open {root}: {error}") from error
        logging.getLogger("dvc").setLevel(logging.WARNING)
        self._yaml_seen: object = None
        self._lock_seen: object = None
        self._dvcfile: Any = None
        self._entries = _LockEntries("")

    def close(self) -> None:
        """Give databases and files back."""
        self.repo.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A short critical section on dvc.yaml and dvc.lock, against DVC's commands and our own processes."""
        with queue(self.root), self.repo.lock:
            yield

    def graph(self) -> Any:
        """DVC's own graph of stages, frozen ones cut off from what they once read; edges point upstream."""
        from dvc.exceptions import DvcException
        from dvc.repo.reproduce import get_active_graph

        with self.locked():
            self.repo._reset()
            try:
                return get_active_graph(self.repo.index.graph)
            except DvcException as error:
                raise UserError(f"DVC cannot read the project: {error}") from error

    def load(self, name: str) -> Any:
        """The stage as dvc.yaml and dvc.lock say now."""
        from dvc.exceptions import DvcException
        from dvc.stage.loader import StageLoader

        try:
            self._refresh()
            if name in self._dvcfile.resolver.get_keys():
                loader = StageLoader(self._dvcfile, self._dvcfile.contents, {"stages": self._entries})
                return loader[name]
            with self.locked():
                [stage] = self.repo.stage.collect(name)
                return stage
        except DvcException as error:
            raise UserError(f"DVC cannot read stage {name}: {error}") from error

    def _refresh(self) -> None:
        yaml, lock = _stat(self.root / "dvc.yaml"), _stat(self.root / "dvc.lock")
        if self._dvcfile is not None and (yaml, lock) == (self._yaml_seen, self._lock_seen):
            return
        from dvc.dvcfile import load_file

        with self.locked():
            yaml, lock = _stat(self.root / "dvc.yaml"), _stat(self.root / "dvc.lock")
            if self._dvcfile is None or yaml != self._yaml_seen:
                self.repo._reset()
                self._dvcfile = load_file(self.repo, str(self.root / "dvc.yaml"))
                # Parsed here, one thread after the other: the library that validates dvc.yaml keeps state while it
                # does, so that of two threads one may hear that a valid file is not.
                self._dvcfile.resolver  # noqa: B018
            if lock != self._lock_seen:
                path = self.root / "dvc.lock"
                self._entries = _LockEntries(path.read_text(encoding="utf-8") if lock else "", self._entries)
            self._yaml_seen, self._lock_seen = yaml, lock

    def why_not_current(self, stage: Any) -> str | None:
        """Why the stage would run, in words; None if it is up to date."""
        if not stage.is_data_source and not any(out.hash_info for out in stage.outs):
            return "it has not run here before"
        if stage.changed_stage():
            return "its command changed"
        if not stage.frozen:
            if stage.is_callback or stage.always_changed:
                return "it always runs"
            for dep in stage.deps:
                if status := dep.status():
                    return self._environment_in_words(stage, dep) or _in_words(status)
        for out in stage.outs:
            if status := out.status():
                return _in_words(status)
        return None

    def _environment_in_words(self, stage: Any, dep: Any) -> str:
        if dep.def_path != environment.FILE or not dep.hash_info:
            return ""
        before = dep.hash_info.value.get(stage.addressing) or {}
        return environment.in_words(before, environment.read(self.root).get(stage.addressing, {}))

    def accept_environment(self, stage: Any) -> tuple[str, str | None]:
        """Record the present environment for a result made in another one, if nothing else about it changed.

        Returns what differs, in words ("" if nothing does), and why it is not accepted (None where it was).
        """
        dep = next((one for one in stage.deps if one.def_path == environment.FILE), None)
        if dep is None or not dep.hash_info or not dep.status():
            return "", None
        now = environment.read(self.root).get(stage.addressing, {})
        before = dep.hash_info.value.get(stage.addressing) or {}
        said = environment.in_words(before, now)
        if before.get("sources", {}) != now.get("sources", {}):
            return said, "other weights are other inputs"
        others = [status for one in stage.deps if one is not dep and (status := one.status())]
        if stage.changed_stage() or others:
            return said, f"it would run all the same: {_in_words(others[0]) if others else 'its command changed'}"
        dep.save()
        self._record(stage)
        return said, None

    def save_environment(self, stage: Any) -> None:
        """Take what artifacts/environment.json says of the stage into its record, the rest as it was saved."""
        for dep in stage.deps:
            if dep.def_path == environment.FILE:
                dep.save()

    @contextmanager
    def paths_locked(self, stage: Any) -> Iterator[None]:
        """Hold DVC's read locks on the stage's inputs and write locks on its outputs; waits while another has them."""
        import psutil
        from dvc import rwlock
        from dvc.lock import LockError

        reads = [dep.fs_path for dep in stage.deps]
        writes = [out.fs_path for out in stage.outs]
        # The moment of the process's start tells it from a later one with the same number.
        born = f"{psutil.Process().create_time():.2f}"
        info = {"pid": os.getpid(), "cmd": f"stage {stage.addressing} thread {threading.get_ident()} since {born}"}
        waiting = False
        while True:
            try:
                with self._rwlock_file() as lock:
                    rwlock._check_blockers(self.repo.tmp_dir, lock, info, mode="write", waiters=reads + writes)
                    rwlock._check_blockers(self.repo.tmp_dir, lock, info, mode="read", waiters=writes)
                    read = rwlock._acquire_read(lock, info, reads)
                    written = rwlock._acquire_write(lock, info, writes)
                break
            except LockError as error:
                if not waiting:
                    busy = " ".join(str(error).partition("\n\n")[0].split())
                    log.warning("%s: waiting, %s", stage.addressing, busy)
                    waiting = True
                    self._forget_the_dead()
                time.sleep(SECONDS_BETWEEN_TRIES)
        try:
            yield
        finally:
            with contextlib.suppress(LockError, AssertionError, ValueError), self._rwlock_file() as lock:
                rwlock._release_write(lock, info, written)
                rwlock._release_read(lock, info, read)

    @contextmanager
    def _rwlock_file(self) -> Iterator[Any]:
        from dvc import rwlock

        from steerwright.dag.dvc.repair import heal_rwlock

        with queue(self.root, "rwlock"):
            try:
                opened = rwlock._edit_rwlock(self.repo.tmp_dir, self.repo.fs, False)
                lock = opened.__enter__()
            except (rwlock.RWLockFileCorruptedError, rwlock.RWLockFileFormatError):
                heal_rwlock(self.root)
                opened = rwlock._edit_rwlock(self.repo.tmp_dir, self.repo.fs, False)
                lock = opened.__enter__()
            try:
                yield lock
            except BaseException as error:
                # The file is written back only if nothing went wrong: what was found is still what is there.
                opened.__exit__(type(error), error, error.__traceback__)
                raise
            else:
                opened.__exit__(None, None, None)

    def _forget_the_dead(self) -> None:
        """Drop locks whose process number now belongs to another process than the one that took them."""
        import psutil

        path = Path(self.repo.tmp_dir) / "rwlock"
        changed = path.stat().st_mtime if path.exists() else 0.0

        def dead(info: Mapping[str, Any]) -> bool:
            try:
                born = psutil.Process(info["pid"]).create_time()
            except psutil.NoSuchProcess:
                return True
            said = str(info["cmd"]).rpartition(" since ")[2]
            with contextlib.suppress(ValueError):
                return bool(abs(born - float(said)) > 1.0)
            # An entry of DVC's own: nobody can have taken a lock before being born.
            return bool(born > changed + 1.0)

        with self._rwlock_file() as lock:
            for path_locked, info in list(lock["write"].items()):
                if info and dead(info):
                    del lock["write"][path_locked]
            for path_locked, infos in list(lock["read"].items()):
                lock["read"][path_locked] = [info for info in infos if not dead(info)]
                if not lock["read"][path_locked]:
                    del lock["read"][path_locked]

    def restore(self, stage: Any) -> bool:
        """Check the outputs that dvc.lock or the run-cache has for these inputs out of the cache; False if none are.

        What is damaged there is dropped and counts as missing.
        """
        from dvc.stage import PipelineStage, create_stage
        from dvc.stage import cache as run_cache
        from dvc.stage.loader import StageLoader
        from dvc.stage.serialize import to_single_stage_lockfile

        if not run_cache._can_hash(stage):
            return False
        recorded_now = not stage.changed_stage() and all(out.hash_info for out in stage.outs) and stage.deps_cached()
        if recorded_now:
            entry = to_single_stage_lockfile(stage)
        else:
            stage.save_deps()
            entry = self.repo.stage_cache._load(stage)
        if not entry:
            return False
        yaml = str(self.root / "dvc.yaml")
        outs = [out["path"] for out in entry["outs"]]
        cached = create_stage(PipelineStage, self.repo, yaml, cmd=entry["cmd"], wdir=stage.wdir, outs=outs)
        StageLoader.fill_from_lock(cached, entry)
        if not cache_objects.whole(self.root, [out.hash_info.value for out in cached.outs]) or not cached.outs_cached():
            return False
        in_git = {out.def_path for out in stage.outs if not out.use_cache}
        for out in cached.outs:
            out.remove()
            with self._links_for(out):
                out.checkout(force=True)
            if out.def_path in in_git:
                # Editing a file of git must not edit the cache.
                out.unprotect()
        return True

    def commit(self, stage: Any, *, forced: bool = False) -> None:
        """Hash the outputs, move them into the cache, remember the run, and write the stage's entry of dvc.lock.

        DVC keeps an object that is in the cache already, so a damaged one is dropped first; ``forced``: they are all
        read for that, also those that have not moved since they were read.

        The hashes of the inputs are those of the moment when the caller saved them, before the stage ran: an input
        that was edited meanwhile makes the stage run again, instead of passing for what was read.
        """
        with self.locked():
            stage.ignore_outs()
        stage.save_outs()
        names = [name for out in stage.outs for name in _names(out)]
        cache_objects.drop(self.root, cache_objects.check(self.root, names, about_to_use=True, again=forced))
        for out in stage.outs:
            with self._links_for(out):
                out.commit()
        self._record(stage)
        cache_objects.remember(self.root, names)

    def _record(self, stage: Any) -> None:
        from dvc.stage.serialize import to_lockfile
        from dvc.utils.serialize import dumps_yaml

        with self.locked():
            # As DVC does: a run whose data is in git alone cannot be restored from the cache.
            if stage.cmd and all(out.use_cache or out.is_metric or out.is_plot for out in stage.outs):
                self.repo.stage_cache.save(stage)
            if stage.addressing == getattr(stage, "name", None):
                text = dumps_yaml({"stages": dict(to_lockfile(stage))})
                lockfile.record(self.root, stage.name, text.partition("\n")[2])
            else:
                stage.dump(update_pipeline=False)

    @contextmanager
    def _links_for(self, out: Any) -> Iterator[None]:
        """Link a large output to the cache, unless the configuration has another way than copies for all of them."""
        cache = self.repo.cache.local
        configured = cache.cache_types
        if set(configured) <= {"reflink", "copy"} and (out.meta.size or 0) > LINKED_FROM:
            cache.cache_types = ["hardlink", "copy"]
        try:
            yield
        finally:
            cache.cache_types = configured

    def records(self, stage: Any) -> list[OutputRecord]:
        """The stage's outputs as dvc_lock."""
        return [
            OutputRecord(
                path=str(out.def_path),
                md5=out.hash_info.value if out.hash_info else None,
                size=out.meta.size if out.meta else None,
                files=out.meta.nfiles if out.meta else None,
                kind="metrics" if out.is_metric else "plots" if out.is_plot else "data",
                cache=bool(out.use_cache),
            )
            for out in stage.outs
        ]


class _LockEntries(Mapping[str, Any]):
    """dvc.lock's stages, each parsed when it is asked for; entries whose text did not change are taken over."""

    def __init__(self, text: str, before: _LockEntries | None = None) -> None:
        self._texts = dvc_lock.lock_entries(text)
        known: dict[str, Any] = before._parsed if before is not None else {}
        self._parsed: dict[str, Any] = {block: known[block] for block in self._texts.values() if block in known}

    def __getitem__(self, name: str) -> Any:
        block = self._texts[name]
        if block not in self._parsed:
            self._parsed[block] = dvc_lock.parse_entry(block)
        entry = self._parsed[block]
        if entry is None:
            raise KeyError(name)
        return entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def _names(out: Any) -> list[str]:
    """The objects of an output that was just hashed."""
    files = [file.value for _, _, file in out.obj] if out.hash_info.isdir else []
    return [out.hash_info.value, *files]


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _in_words(status: Mapping[str, Any]) -> str:
    said: list[str] = []
    for path, what in status.items():
        if isinstance(what, Mapping):
            said += [f"{key} in {path} is {word}" for key, word in what.items()]
        else:
            said.append(f"{path} is {what}")
    return ", ".join(said[:3]) + (f" and {len(said) - 3} more" if len(said) > 3 else "")
