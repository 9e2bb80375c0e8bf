"""`progress()` of a stage as a progress artifact of its task run, at most one request in a few seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from uuid import UUID

from steerwright.dag.prefect.artifacts import artifact_key

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_UPDATES = 2.0


class ProgressArtifact:
    """One bar per stage: created at its first report, updated at most every two seconds and at the end.

    Must be made inside the task run that it belongs to; may be called from other threads of the stage.
    """

    def __init__(self, stage: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._key = artifact_key(stage, "progress")
        self._clock = clock
        # Threads that a stage starts itself do not inherit the run's context, without which a bar belongs to no run.
        self._context = copy_context()
        self._lock = threading.Lock()
        self._artifact_id: UUID | None = None
        self._sent_at = float("-inf")
        self._latest: tuple[int, int, str] | None = None
        self._unsent = False

    def report(self, done: int, total: int, what: str) -> None:
        """Show `done` of `total`; sent at once when it is the first or the last, else when two seconds have passed."""
        with self._lock:
            self._latest, self._unsent = (done, total, what), True
            if done >= total or self._clock() - self._sent_at >= SECONDS_BETWEEN_UPDATES:
                self._context.run(self._send)

    def finish(self) -> None:
        """Send what was held back."""
        with self._lock:
            if self._unsent:
                self._context.run(self._send)

    def _send(self) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        assert self._latest is not None
        done, total, what = self._latest
        percent = 100.0 * min(done, total) / total if total > 0 else 100.0
        text = f"{done} of {total} {what}"
        self._sent_at, self._unsent = self._clock(), False
        try:
            if self._artifact_id is None:
                self._artifact_id = _id(create_progress_artifact(percent, key=self._key, description=text))
            else:
                update_progress_artifact(self._artifact_id, progress=percent, description=text)
        except Exception as error:
            # A bar is not worth a stage.
            logger.debug("Progress was not recorded in Prefect: %s", error)


def _id(created: object) -> UUID:
    """`create_progress_artifact` is typed as either of its sync and async answers; here it is the sync one."""
    assert isinstance(created, UUID)
    return created


# The project's own log lines, in the log of the task run that wrote them.

PROJECT_LOGGERS = ("steerwright", "seasons", "tasks", "flows")


class RunLogHandler(logging.Handler):
    """Hands a record to the logger of the Prefect run whose context the calling thread is in, else to the root."""

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one record with its level and traceback; a thread outside any run has only the console."""
        from prefect.exceptions import MissingContextError
        from prefect.logging import get_run_logger

        try:
            run_logger = get_run_logger()
        except MissingContextError:
            logging.getLogger().handle(record)
            return
        run_logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info)


@contextmanager
def project_logs_in_runs(level: int = logging.INFO) -> Iterator[None]:
    """While open, log lines of the project at `level` and above go to Prefect, which also prints them.

    Everything is put back on leaving.
    """
    handler = RunLogHandler(level)
    loggers = [logging.getLogger(name) for name in PROJECT_LOGGERS]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        # Prefect prints a run's lines itself; the root's handlers would print them a second time.
        logger.propagate = False
        if logger.getEffectiveLevel() > level:
            logger.setLevel(level)
    try:
        yield
    finally:
        for logger, level_before, propagate_before in before:
            logger.removeHandler(handler)
            logger.setLevel(level_before)
            logger.propagate = propagate_before
