"""The concurrency limit behind the tag `gpu`: one stage at a time on the device."""

from __future__ import annotations

import logging

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
