"""The memory of a shuffled stream of rows: two halves, one being drained while the other is filled."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RowBatch:
    """Rows [batch, d] in the dtype of their source, and the denoising step (int64 [batch], -1: none) of each."""

    rows: Tensor
    step: Tensor

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True, eq=False)
class PoolHalf:
    """Room for a window: `rows` [capacity, d] and `steps` int64 [capacity], on the device where batches are wanted.

    On CUDA `filled` and `drained` order the streams of the thread that fills and of the one that draws.
    """

    rows: Tensor
    steps: Tensor
    held: int = 0
    order: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    filled: torch.cuda.Event | None = None
    drained: torch.cuda.Event | None = None

    @classmethod
    def empty(cls, capacity: int, width: int, dtype: torch.dtype, device: torch.device) -> PoolHalf:
        rows = torch.empty(capacity, width, dtype=dtype, device=device)
        steps = torch.empty(capacity, dtype=torch.int64, device=device)
        half = cls(rows, steps)
        if device.type == "cuda":
            half.filled, half.drained = torch.cuda.Event(), torch.cuda.Event()
            half.release()  # the memory may be what kernels still running on this stream were using
        return half

    @property
    def capacity(self) -> int:
        return len(self.rows)

    def acquire(self) -> None:
        """Let what the current stream does from here on see the rows."""
        if self.filled is not None:
            torch.cuda.current_stream(self.rows.device).wait_event(self.filled)

    def release(self) -> None:
        """Let the filling thread wait for what the current stream has been asked to do."""
        if self.drained is not None:
            self.drained.record(torch.cuda.current_stream(self.rows.device))

    def shuffle(self, order: NDArray[np.int64]) -> None:
        """Give the rows out in this order of their places."""
        self.held = len(order)
        self.order = torch.from_numpy(order).to(self.rows.device)

    def draw(self, start: int, stop: int) -> RowBatch:
        """Rows `start` to `stop` of the order, as copies."""
        places = self.order[start:stop]
        return RowBatch(self.rows.index_select(0, places), self.steps.index_select(0, places))


def joined(parts: list[RowBatch]) -> RowBatch:
    """Batches one after the other; a single one as it is."""
    if len(parts) == 1:
        return parts[0]
    return RowBatch(torch.cat([part.rows for part in parts]), torch.cat([part.step for part in parts]))


# The order in which an epoch visits rows: stretches of files in a random order, shuffled window by window.
#
# A window is as many stretches as half of the shuffle pool holds. Its rows are permuted when all are there, while the
# next window is read into the other half. Everything is a function of (seed, epoch, window), so a position is three
# numbers, and going on from it costs one window's reading, however far into the epoch it is.
#
# Why not a pool from which random rows are drawn and replaced one by one: its content depends on the whole epoch
# before. Stretches of all files in random order give a window rows of many shards, so tokens of one picture meet others
# of everywhere, and different steps of it come in different windows.

STRETCHES_PER_WINDOW = 16
"""At least so many places of the store meet in a window, where the store has more rows than a window."""
STRETCH_BYTES = 16 << 20
"""Long enough that going to another place of the disk costs little beside reading."""


@dataclass(frozen=True, slots=True, eq=False)
class EpochOrder:
    """The windows of one epoch. `starts`, `stops`: int64 [stretches], numbers of rows in `RowRanges`, in reading
    order; window w has the stretches `bounds[w]` to `bounds[w + 1]`."""

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    bounds: NDArray[np.int64]
    seed: int
    epoch: int

    @property
    def windows(self) -> int:
        return len(self.bounds) - 1

    def stretches(self, window: int) -> list[tuple[int, int]]:
        """(first, last + 1) row of each stretch of a window, in reading order."""
        part = slice(self.bounds[window], self.bounds[window + 1])
        return list(zip(self.starts[part].tolist(), self.stops[part].tolist(), strict=True))

    def rows(self, window: int) -> int:
        return sum(stop - start for start, stop in self.stretches(window))

    def permutation(self, window: int) -> NDArray[np.int64]:
        """In which order the rows of a window, as they were read, are given out."""
        return _random(self.seed, self.epoch, 1, window).permutation(self.rows(window))


def epoch_order(file_starts: NDArray[np.int64], window_rows: int, row_bytes: int, seed: int, epoch: int) -> EpochOrder:
    """Order the rows of files that begin at `file_starts` (its last entry: the number of all rows).

    No window has more than `window_rows` rows; they are about equal, so that the last one mixes as well as the others.
    """
    total = int(file_starts[-1])
    longest = max(1, min(window_rows // STRETCHES_PER_WINDOW, STRETCH_BYTES // row_bytes))
    starts = np.concatenate([_divided(int(a), int(b), longest) for a, b in pairwise(file_starts)])
    stops = np.append(starts[1:], total)
    order = _random(seed, epoch, 0).permutation(len(starts))
    starts, stops = starts[order], stops[order]
    # A stretch belongs to the window in which it begins, so a window may exceed its share by less than a stretch.
    windows = 1 if total <= window_rows else -(-total // max(1, window_rows - longest + 1))
    before = np.cumsum(stops - starts) - (stops - starts)
    bounds = np.searchsorted(before * windows, np.arange(windows + 1) * total)
    return EpochOrder(starts, stops, np.unique(bounds), seed, epoch)


def _divided(start: int, stop: int, longest: int) -> NDArray[np.int64]:
    """Where stretches of nearly equal length, none longer than `longest`, begin between `start` and `stop`."""
    parts = -(-(stop - start) // longest)
    return start + (stop - start) * np.arange(parts, dtype=np.int64) // parts


def _random(*words: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(words))


# A thread that fills windows ahead of the consumer, in order, with no more room than it was given.

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
            self._ready.put(found)  # a second call gets the same answer, and does not wait for ever
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
