"""Shards in flight: a few more than there are workers, so that none waits and a failure stops the rest."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)


def drive(
    count: int,
    in_flight: int,
    submit: Callable[[int], Any],
    take: Callable[[int, Any], Any],
    on_done: Callable[[int], None],
) -> list[Any]:
    """Results of shards 0 to ``count`` - 1, at most ``in_flight`` of them submitted and not yet taken.

    ``submit(index)`` gives a future that has add_done_callback(); ``take(index, future)`` gives its result or
    raises. ``on_done`` hears how many are done. After a failure no further shard is submitted, those in flight end,
    and the first failure is raised.
    """
    results: list[Any] = [None] * count
    finished: queue.SimpleQueue[int] = queue.SimpleQueue()
    futures: dict[int, Any] = {}
    failure: Exception | None = None
    upcoming = iter(range(count))
    done = 0
    while True:
        while failure is None and len(futures) < in_flight:
            index = next(upcoming, None)
            if index is None:
                break
            futures[index] = submit(index)
            futures[index].add_done_callback(lambda _, index=index: finished.put(index))
        if not futures:
            break
        index = finished.get()
        try:
            results[index] = take(index, futures.pop(index))
        except Exception as error:
            if failure is not None:
                log.error("shard %d of %d failed too: %s", index + 1, count, error)
            failure = failure or error
            continue
        done += 1
        on_done(done)
    if failure is not None:
        raise failure
    return results
