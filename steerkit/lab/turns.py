"""Whose turn it is at a model: one at a time, in the order in which they asked.

A model that is being steered holds hooks, so two requests must not run in it at once. Long work (a sweep) takes a turn
for each of its pieces, so that a short request that came meanwhile is next, and nobody waits for the whole.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from steerkit.lab.jobs import Cancelled

_LOOK = 0.1  # seconds between two looks at whether somebody who waits has given up


class FairLock:
    """A lock that is given to whoever asked first (a plain lock may give it to the same thread again and again).

    The thread that holds it may take it again inside, as operations call one another.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._holder: int | None = None
        self._depth = 0

    @property
    def waiting(self) -> int:
        """How many threads wait for it now."""
        with self._guard:
            return len(self._waiting)

    def acquire(self, cancelled: Callable[[], bool] | None = None) -> None:
        """Wait for the turn; raises Cancelled when `cancelled` says so before it has come."""
        me = threading.get_ident()
        with self._guard:
            if self._holder == me:
                self._depth += 1
                return
            if self._holder is None and not self._waiting:
                self._holder, self._depth = me, 1
                return
            mine = threading.Event()
            self._waiting.append(mine)
        while not mine.wait(None if cancelled is None else _LOOK):
            if cancelled is not None and cancelled():
                self._give_up(mine)
        with self._guard:
            self._holder, self._depth = me, 1

    def release(self) -> None:
        """Hand the turn to the next in the row."""
        with self._guard:
            self._depth -= 1
            if self._depth == 0:
                self._next()

    def _give_up(self, mine: threading.Event) -> None:
        with self._guard:
            if mine.is_set():
                # The turn came between the look and now: pass it on.
                self._next()
            else:
                self._waiting.remove(mine)
        raise Cancelled

    def _next(self) -> None:
        if self._waiting:
            # Nobody's yet, but no longer free: who comes now must not slip in before the thread that is woken.
            self._holder = -1
            self._waiting.popleft().set()
        else:
            self._holder = None


class Turns:
    """A fair lock for each model, by name."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, FairLock] = {}

    @contextmanager
    def turn(self, name: str, cancelled: Callable[[], bool] | None = None) -> Iterator[None]:
        """The model `name` is this thread's inside the block. Raises Cancelled when `cancelled` comes true waiting."""
        with self._guard:
            lock = self._locks.setdefault(name, FairLock())
        lock.acquire(cancelled)
        try:
            yield
        finally:
            lock.release()
