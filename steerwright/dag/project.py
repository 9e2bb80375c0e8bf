"""Where the project is, and which files of it the engine reads and writes."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from steerwright.errors import UserError

TEMPORARY = Path("artifacts", ".tmp")
STATE = Path(".dvc", "tmp", "steerwright")


def find_root(start: Path | None = None) -> Path:
    """The nearest folder from ``start`` (default: the working directory) upwards that holds tasks/*/pipeline.py.

    Raises:
        UserError: there is none.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if any(folder.glob("tasks/*/pipeline.py")):
            return folder
    raise UserError(f"{here} is not inside a steerwright checkout (no tasks/*/pipeline.py here or above); cd into one")


def enter(root: Path) -> None:
    """Make ``root`` the working directory and importable: stages and parameters name files relative to it."""
    os.chdir(root)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


def state_folder(root: Path) -> Path:
    """The engine's own files (locks, signatures): .dvc/tmp/steerwright, never in git.

    Raises:
        UserError: the project has no .dvc folder.
    """
    if not (root / ".dvc").is_dir():
        raise UserError(f"{root} has no .dvc folder; run `dvc init` there (or `dvc init --no-scm` without git)")
    folder = root / STATE
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_atomically(root: Path, path: Path, text: str) -> None:
    """Replace a text file by one rename, so that a reader or a kill sees the old text or the new one, whole."""
    descriptor, temporary = tempfile.mkstemp(dir=state_folder(root), prefix=f"{path.name}.", suffix=f".{os.getpid()}")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only the owner can read.
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# With STEERWRIGHT_JOURNAL=FILE set, one line per computation that starts and ends; what benchmarks/crash.py counts.


def note(what: Literal["started", "finished", "placed", "recorded"], stage: str, key: str) -> None:
    """Append one line, whole even when several processes write, if a journal was asked for."""
    path = os.environ.get("STEERWRIGHT_JOURNAL")
    if not path:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{time.time():.3f} {what} {stage} {key}\n".encode())
    finally:
        os.close(descriptor)


# The engine's own locks: flock on small files, released by the kernel when their holder dies, however it dies.

log = logging.getLogger(__name__)


@contextmanager
def queue(root: Path, name: str = "queue") -> Iterator[None]:
    """Wait in line among the engine's threads and processes, so that DVC's lock is never polled by two of them."""
    with open(state_folder(root) / f"{name}.flock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def stage_lock(root: Path, stage: str) -> Iterator[None]:
    """Only one process at a time computes a stage of this checkout, whichever command started it; others wait."""
    with open(_stage_file(root, stage), "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("%s: waiting, another process is computing it", stage)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def stage_lock_if_free(root: Path, stage: str) -> Iterator[bool]:
    """Take the stage's lock if nobody has it; yields whether it was taken."""
    with open(_stage_file(root, stage), "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _stage_file(root: Path, stage: str) -> Path:
    folder = state_folder(root) / "stages"
    folder.mkdir(exist_ok=True)
    return folder / f"{stage.replace(os.sep, '_')}.flock"
