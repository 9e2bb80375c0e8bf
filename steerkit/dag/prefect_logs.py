"""The project's own log lines, in the log of the task run that wrote them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

PROJECT_LOGGERS = ("steerkit", "tasks", "flows")


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
