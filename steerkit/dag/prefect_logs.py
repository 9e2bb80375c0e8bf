"""The project's own log lines, in the log of the task run that wrote them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

PROJECT_LOGGERS = ("steerkit", "tasks", "flows")


class RunLogHandler(logging.Handler):
    """Hands a record to the logger of the Prefect run whose context the calling thread is in; drops it elsewhere."""

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one record with its level and traceback; a thread outside any run has no log to write to."""
        from prefect.exceptions import MissingContextError
        from prefect.logging import get_run_logger

        try:
            run_logger = get_run_logger()
        except MissingContextError:
            return
        run_logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info)


@contextmanager
def project_logs_in_runs(level: int = logging.INFO) -> Iterator[None]:
    """While open, log lines of the project at `level` and above also go to Prefect.

    The level of a project logger is lowered to `level` at most, and everything is put back on leaving.
    """
    handler = RunLogHandler(level)
    loggers = [logging.getLogger(name) for name in PROJECT_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        if logger.getEffectiveLevel() > level:
            logger.setLevel(level)
    try:
        yield
    finally:
        for logger, before in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(before)
