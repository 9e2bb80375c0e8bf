"""The engine's own locks: flock on small files, released by the kernel when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steerkit.dag.project import state_folder

log = logging.getLogger(__name__)


@contextmanager
def queue(root: Path, name: str = "queue") -> Iterator[None]:
    """Wait in line among the engine's threads and processes, so that DVC's lock is never polled by two of them."""
    with open(state_folder(root) / f"{name}.flock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def stage_lock(root: Path, stage: str) -> Iterator[None]:
    """Only one process at a time computes a stage of this checkout, whichever door started it; others wait."""
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
