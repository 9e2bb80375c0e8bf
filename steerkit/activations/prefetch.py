"""A thread that fills windows ahead of whoever draws from them, in order, with no more room than it was given."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Window = TypeVar("Window")
Room = TypeVar("Room")


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class _Ended:
    pass


class Prefetch(Generic[Window, Room]):
    """Calls `fill(window, room)` for each of `windows` in a thread, as rooms come free; `take` gives them in order.

    What goes wrong in the thread is raised by `take`. The thread ends with `close`, when nothing refers to this object
    any more, and before the interpreter does (a thread that is cut off inside torch takes the process down with it).
    `stopped` is set then, so that a `fill` that takes long can look at it and return.
    """

    def __init__(
        self,
        windows: Iterator[Window],
        rooms: list[Room],
        fill: Callable[[Window, Room], None],
        name: str,
        stopped: threading.Event | None = None,
    ) -> None:
        free: queue.SimpleQueue[Room | None] = queue.SimpleQueue()
        self._free = free
        self._ready: queue.SimpleQueue[tuple[Window, Room] | _Failed | _Ended] = queue.SimpleQueue()
        self.waited = 0.0
        """Seconds that `take` has waited for the thread."""
        for room in rooms:
            free.put(room)
        # The thread and what ends it hold the queues but not this object, so that an abandoned one is collected.
        event = stopped or threading.Event()
        arguments = (windows, fill, free, self._ready, event)
        thread = threading.Thread(target=_work, args=arguments, name=name, daemon=True)
        self.close = weakref.finalize(self, _end, thread, event, free)
        """Stop the thread and wait until it has."""
        thread.start()

    def take(self) -> tuple[Window, Room] | None:
        """The next window and the room that holds it; None when there are no more."""
        start = time.perf_counter()
        found = self._ready.get()
        self.waited += time.perf_counter() - start
        if isinstance(found, _Failed):
            self._ready.put(found)  # whoever asks again gets the same answer, and does not wait for ever
            raise found.error
        if isinstance(found, _Ended):
            self._ready.put(found)
            return None
        return found

    def give_back(self, room: Room) -> None:
        """Say that nothing is read from `room` any more."""
        self._free.put(room)


def _end(thread: threading.Thread, stopped: threading.Event, free: queue.SimpleQueue[Room | None]) -> None:
    stopped.set()
    free.put(None)
    if thread is not threading.current_thread():  # the collector may run in any thread
        thread.join()


def _work(
    windows: Iterator[Window],
    fill: Callable[[Window, Room], None],
    free: queue.SimpleQueue[Room | None],
    ready: queue.SimpleQueue[tuple[Window, Room] | _Failed | _Ended],
    stopped: threading.Event,
) -> None:
    try:
        for window in windows:
            room = free.get()
            if room is None or stopped.is_set():
                return
            fill(window, room)
            ready.put((window, room))
        ready.put(_Ended())
    except BaseException as error:  # whatever it is belongs to the reader, who would else wait for ever
        ready.put(_Failed(error))
