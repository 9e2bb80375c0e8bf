"""What a stage function may ask of its runner: report progress, look at its last output, know its own code."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from steerwright.errors import UserError

progress_log = logging.getLogger("steerwright.progress")

SECONDS_BETWEEN_LINES = 2.0

ProgressSink = Callable[[str, int, int, str], None]
"""(stage, done, total, what)"""


@dataclass
class RunningStage:
    """The stage that is running in this thread, and how to answer its questions."""

    name: str
    sink: ProgressSink
    previous: Callable[[str], dict[str, Path]]
    digest: Callable[[], str]
    resources: ExitStack = field(default_factory=ExitStack)
    """What was opened for the stage and is closed at its end: the workers of its shards."""
    _lock: threading.Lock = field(default_factory=threading.Lock)


_current: ContextVar[RunningStage | None] = ContextVar("steerwright_running_stage", default=None)
# A stage's own worker threads do not inherit context variables; with a single stage running there is no doubt.
_running: list[RunningStage] = []


@contextmanager
def running(stage: RunningStage) -> Iterator[None]:
    """Make ``stage`` the one that progress(), previous_output() and code_digest() speak of."""
    token = _current.set(stage)
    _running.append(stage)
    try:
        with stage.resources:
            yield
    finally:
        _running.remove(stage)
        _current.reset(token)


def progress(done: int, total: int, what: str) -> None:
    """Report ``done`` of ``total`` units (``what``: "images", "shards"); outside a stage it does nothing."""
    stage = _find()
    if stage is not None:
        with stage._lock:
            stage.sink(stage.name, done, total, what)


def previous_output(argument: str) -> dict[str, Path]:
    """Files of this stage's last committed Out, as relative name -> read-only file in the DVC cache.

    Found through dvc.lock, so also after `dvc repro` has removed the folder and in a fresh clone after `dvc pull`.
    Empty if the stage never finished, if the files are not in the cache, or outside a stage.
    """
    stage = _find()
    return {} if stage is None else stage.previous(argument)


def code_digest() -> str:
    """sha256 over the source files that the running stage imports; the empty string outside a stage."""
    stage = _find()
    return "" if stage is None else stage.digest()


def running_stage() -> RunningStage | None:
    """The running stage; None outside a stage."""
    return _find()


def log_lines() -> ProgressSink:
    """A sink that logs at most one line every two seconds, and always the last unit."""
    last = 0.0

    def sink(stage: str, done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if done >= total or now - last >= SECONDS_BETWEEN_LINES:
            last = now
            progress_log.info("%s: %d of %d %s", stage, done, total, what)

    return sink


def _find() -> RunningStage | None:
    stage = _current.get()
    if stage is None and len(_running) == 1:
        return _running[0]
    return stage


# A full or broken disk is nobody's bug: one message instead of a traceback.

log = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT)
# How libraries that do not raise OSError (safetensors, sqlite, torch) say it.
FULL_IN_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full")

FULL_MESSAGE = "the disk is full; nothing half-written was kept as a result. Free some space and run again"


@contextmanager
def as_user_error(stage: str) -> Iterator[None]:
    """Turn an OSError, also one that a library has wrapped, into a UserError that names the stage."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        log.debug("%s failed", stage, exc_info=True)
        raise UserError(f"stage {stage}: {message}") from error


def explain(error: BaseException) -> str | None:
    """What to tell the user of a failure that comes from the operating system; None if it does not."""
    seen: BaseException | None = error
    before: set[int] = set()
    # An error raised "from" itself is its own cause.
    while seen is not None and id(seen) not in before:
        before.add(id(seen))
        if isinstance(seen, OSError) and seen.errno in FULL:
            return FULL_MESSAGE
        if any(words in str(seen) for words in FULL_IN_WORDS):
            return FULL_MESSAGE
        seen = seen.__cause__ or seen.__context__
    for one in (error, error.__cause__):
        if isinstance(one, OSError) and one.errno is not None:
            where = f": {one.filename}" if one.filename else ""
            return f"{one.strerror or type(one).__name__}{where}"
    return None
