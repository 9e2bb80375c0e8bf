"""Which failures another attempt can mend."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from typing import Any

from steerwright.errors import UserError

RETRY_DELAYS_SECONDS = [5.0, 30.0]
"""Before the first repetition, and before every further one where a stage declares more."""

_PASSING_ERRNOS = frozenset(
    {
        errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT,
        errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.ENETDOWN, errno.ENETUNREACH,
        errno.EHOSTUNREACH, errno.EPIPE,
    }
)  # fmt: skip
_PASSING_TYPES = frozenset({"OutOfMemoryError", "AcceleratorError", "LockError"})
_PASSING_HTTP_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_HTTP_PACKAGES = frozenset({"requests", "httpx", "urllib3", "huggingface_hub", "aiohttp"})


def worth_retrying(error: BaseException) -> bool:
    """Whether the cause of `error` may be gone in a moment: network, a busy device or lock, memory; never a UserError.

    A wrong argument, a missing file or a full disk fails again in the same way, and only later.
    """
    chain = list(_causes(error))
    if any(isinstance(cause, UserError) for cause in chain):
        return False
    return any(_passes(cause) for cause in chain)


def _passes(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError | MemoryError):
        return True
    if type(error).__name__ in _PASSING_TYPES:
        return True
    if type(error).__module__.split(".")[0] in _HTTP_PACKAGES:
        reply: Any = getattr(error, "response", None)
        return reply is None or getattr(reply, "status_code", None) in _PASSING_HTTP_STATUS
    return isinstance(error, OSError) and error.errno in _PASSING_ERRNOS


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


# The concurrency limit behind the tag `gpu`: one stage at a time on the device.

logger = logging.getLogger(__name__)

GPU_TAG = "gpu"
GPU_SLOTS = 1


def ensure_gpu_limit() -> None:
    """Create the server's limit for the tag if there is none; a number that somebody set stays as it is."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            client.read_concurrency_limit_by_tag(GPU_TAG)
        except ObjectNotFound:
            client.create_concurrency_limit(tag=GPU_TAG, concurrency_limit=GPU_SLOTS)
            logger.info("Stages tagged %r run one at a time on this server.", GPU_TAG)
