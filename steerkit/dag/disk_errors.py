"""A full or broken disk is nobody's bug: one message instead of a traceback."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from steerkit.errors import UserError

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
