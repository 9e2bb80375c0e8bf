"""Time and memory of a piece of a benchmark."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds on the wall and of the processor, of this process and of those that it waited for, inside its blocks."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def __enter__(self) -> Clock:
        self._begun = time.perf_counter(), _processor()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._begun[0]
        self.processor += _processor() - self._begun[1]


def _processor() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


@contextmanager
def watched_memory() -> Iterator[list[int]]:
    """The highest resident memory while the block runs, looked at every 5 ms, as the one entry of the list."""
    import psutil

    process, highest, over = psutil.Process(), [0], threading.Event()

    def look() -> None:
        while not over.wait(0.005):
            highest[0] = max(highest[0], process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield highest
    finally:
        over.set()
        thread.join()
