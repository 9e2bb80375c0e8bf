"""Shuffled batches of a store's rows, read at the disk's pace in a thread, in an order that a position can resume."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steerwright.activations.store.reader import Store
from steerwright.activations.store.row_ranges import (
    Piece,
    RowRanges,
    RowSelection,
    ShardReader,
    row_ranges,
    sequential_rate,
)
from steerwright.activations.store.rows import DTYPES
from steerwright.activations.store.shuffle import (
    STRETCH_BYTES,
    EpochOrder,
    PoolHalf,
    Prefetch,
    RowBatch,
    epoch_order,
    joined,
)
from steerwright.models.hookpoints import Hookpoint

__all__ = ["LoaderReport", "RowBatch", "RowLoader"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoaderReport:
    """What a loader has done. Rates are bytes of values per second; `share` compares them."""

    bytes: int
    rate: float
    """While it was reading; waiting for a full pool to drain does not count."""
    sequential_rate: float
    """Of the disk, on the same files, front to back."""
    waited: float
    """Seconds that the consumer waited for batches."""

    @property
    def share(self) -> float:
        return self.rate / self.sequential_rate if self.sequential_rate else 0.0

    def __str__(self) -> str:
        return (
            f"{self.bytes / 1e9:.2f} GB read at {self.rate / 1e6:.0f} MB/s, {self.share:.0%} of the disk's sequential "
            f"{self.sequential_rate / 1e6:.0f} MB/s; {self.waited:.1f} s were spent waiting for rows"
        )


class RowLoader:
    """An iterator over batches of `batch_rows` rows at `hookpoint`, each row once an epoch, shuffled.

    Never more than `pool_rows` rows are in memory beside the batch. The order depends on the store, the selection,
    `seed` and `pool_rows` alone, and every epoch has another; batches go on over the end of an epoch. Endless unless
    `epochs` says how many; then the last batch may be short. `cursor()` names the place after the last batch given: a
    loader made with it and otherwise the same arguments goes on there, row by row. On CUDA the pool is on the device,
    filled from pinned memory on a stream of its own. Close it, or use it as a context manager.

    UserError when the store has no such rows; ValueError for a cursor of another order.
    """

    def __init__(
        self,
        store: Store,
        hookpoint: Hookpoint,
        *,
        batch_rows: int,
        pool_rows: int,
        seed: int = 0,
        prompts: Collection[str] | None = None,
        steps: Collection[int] | None = None,
        branches: Collection[str] | None = None,
        token_types: Collection[str] | None = None,
        device: torch.device | str = "cpu",
        epochs: int | None = None,
        cursor: dict[str, Any] | None = None,
    ) -> None:
        if batch_rows < 1 or pool_rows < 2 or seed < 0:
            raise ValueError(f"batch_rows {batch_rows}, pool_rows {pool_rows}, seed {seed}: too small")
        selection = RowSelection(
            prompts=None if prompts is None else frozenset(prompts),
            steps=None if steps is None else frozenset(steps),
            branches=None if branches is None else frozenset(branches),
            token_types=None if token_types is None else frozenset(token_types),
        )
        self.hookpoint, self.batch_rows = hookpoint, batch_rows
        self.width, self.dtype = store.layout(hookpoint).width, DTYPES[store.manifest.dtype]
        self._ranges = row_ranges(store, hookpoint, selection)
        self._window_rows = min(pool_rows // 2, self._ranges.total)
        self._seed, self._epochs, self._device = seed, epochs, torch.device(device)
        self._identity = _identity(store, self._ranges, seed, self._window_rows)
        self._epoch, self._window, self._taken = self._position(cursor)
        self._filler = PoolFiller(self._ranges, self._device)
        self._prefetch: Prefetch[tuple[EpochOrder, int], PoolHalf] | None = None
        self._half: PoolHalf | None = None
        self._emptied = False

    @property
    def rows(self) -> int:
        """How many rows an epoch has."""
        return self._ranges.total

    def __iter__(self) -> Iterator[RowBatch]:
        return self

    def __next__(self) -> RowBatch:
        parts: list[RowBatch] = []
        missing = self.batch_rows
        while missing and self._next_window():
            assert self._half is not None
            part = self._half.draw(self._taken, min(self._taken + missing, self._half.held))
            self._taken += len(part)
            missing -= len(part)
            parts.append(part)
        if not parts:
            raise StopIteration
        return joined(parts)

    def cursor(self) -> dict[str, Any]:
        """Where the next batch begins; small, and JSON."""
        return {"order": self._identity, "epoch": self._epoch, "window": self._window, "taken": self._taken}

    def seek(self, cursor: dict[str, Any]) -> None:
        """Begin at `cursor`, instead of what the loader was made with; before the first batch is taken."""
        if self._prefetch is not None:
            raise ValueError("batches were taken already")
        self._epoch, self._window, self._taken = self._position(cursor)

    def report(self) -> LoaderReport:
        """Rates so far. Reads up to 256 MiB of the store again, from the disk, to know what it can give."""
        rate = self._filler.bytes / self._filler.seconds if self._filler.seconds else 0.0
        waited = self._prefetch.waited if self._prefetch else 0.0
        return LoaderReport(self._filler.bytes, rate, sequential_rate(self._ranges.paths), waited)

    def close(self) -> None:
        """End the thread. The loader gives no more batches after this."""
        if self._prefetch is not None:
            self._prefetch.close()
        self._filler.close()
        self._half = None

    def __enter__(self) -> RowLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next_window(self) -> bool:
        """Have a half with rows left to draw; false when there is none."""
        if self._prefetch is None:
            sizes = [self._window_rows] * 2
            halves = [PoolHalf.empty(size, self.width, self.dtype, self._device) for size in sizes]
            work = _windows(self._ranges, self._window_rows, self._seed, self._epochs, self._epoch, self._window)
            self._prefetch = Prefetch(work, halves, self._filler.fill, f"rows of {self.hookpoint}")
        while self._half is None or self._taken == self._half.held:
            if self._half is not None:
                self._half.release()
                self._prefetch.give_back(self._half)
                self._half, self._emptied = None, True
            found = self._prefetch.take()
            if found is None:
                return False  # the position stays where it is, at the end of the last window
            (order, self._window), self._half = found
            self._epoch = order.epoch
            if self._emptied:
                self._taken = 0
            self._half.acquire()
        return True

    def _position(self, cursor: dict[str, Any] | None) -> tuple[int, int, int]:
        if cursor is None:
            return 0, 0, 0
        if cursor["order"] != self._identity:
            raise ValueError("this cursor is of another store, selection, seed or pool size")
        return int(cursor["epoch"]), int(cursor["window"]), int(cursor["taken"])


def _windows(
    ranges: RowRanges, window_rows: int, seed: int, epochs: int | None, epoch: int, window: int
) -> Iterator[tuple[EpochOrder, int]]:
    """Every window from a place on, epoch after epoch."""
    for number in count(epoch) if epochs is None else range(epoch, epochs):
        order = epoch_order(ranges.file_starts, window_rows, ranges.row_bytes, seed, number)
        for here in range(window if number == epoch else 0, order.windows):
            yield order, here


def _identity(store: Store, ranges: RowRanges, seed: int, window_rows: int) -> str:
    """Digest of all that the order of the rows depends on."""
    shards = [(shard.name, shard.key) for shard in store.manifest.shards]
    digest = hashlib.sha256(json.dumps([shards, ranges.row_bytes, seed, window_rows]).encode())
    for numbers in (ranges.file, ranges.offset, ranges.step, ranges.rows):
        digest.update(numbers.tobytes())
    return digest.hexdigest()[:16]


# Fill halves of the shuffle pool with rows of a store: on a CPU in place, on CUDA through pinned memory.

_AHEAD = 4
"""Stretches that the disk is told of before they are read: enough that it never waits for the copying."""


class PoolFiller:
    """`fill((order, window), half)` for the thread of a `Prefetch`; counts bytes and seconds of reading."""

    def __init__(self, ranges: RowRanges, device: torch.device) -> None:
        self._ranges, self._device = ranges, device
        self._reader = ShardReader(ranges.row_bytes)
        self._staging = _PinnedStaging(ranges.row_bytes, device) if device.type == "cuda" else None
        self.bytes, self.seconds = 0, 0.0

    def fill(self, window: tuple[EpochOrder, int], half: PoolHalf) -> None:
        """Read the window's stretches into `half`, shuffle it."""
        start = time.perf_counter()
        order, number = window
        stretches = [self._ranges.pieces(*stretch) for stretch in order.stretches(number)]
        steps = np.concatenate([steps for _, steps in stretches])
        for pieces, _ in stretches[:_AHEAD]:
            self._reader.announce(pieces)
        if self._staging is not None:
            self._staging.begin(half)
        place = 0
        for index, (pieces, _) in enumerate(stretches):
            for later, _ in stretches[index + _AHEAD : index + _AHEAD + 1]:
                self._reader.announce(later)
            count = sum(piece.rows for piece in pieces)
            target = half.rows[place : place + count]
            if self._staging is None:
                self._read(pieces, _bytes_of(target))
            else:
                with self._staging.slot(target) as memory:
                    self._read(pieces, memory)
            place += count
        half.steps[:place] = torch.from_numpy(steps)
        half.shuffle(order.permutation(number))
        if self._staging is not None:
            self._staging.end(half)
        self.bytes += place * self._ranges.row_bytes
        self.seconds += time.perf_counter() - start

    def close(self) -> None:
        """Close files, and wait for copies under way; nothing is filled any more."""
        self._reader.close()
        if self._staging is not None:
            self._staging.finish()

    def _read(self, pieces: Sequence[Piece], memory: Any) -> None:
        begin = 0
        for piece in pieces:
            size = piece.rows * self._ranges.row_bytes
            self._reader.read(piece, memory[begin : begin + size])
            begin += size


def _bytes_of(rows: Tensor) -> Any:
    return rows.view(torch.uint8).reshape(-1).numpy()


class _PinnedStaging:
    """Two pinned buffers in turn, copied to the device on a stream of their own while the other one is read into."""

    def __init__(self, row_bytes: int, device: torch.device) -> None:
        size = max(STRETCH_BYTES, row_bytes)
        self._buffers = [torch.empty(size, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
        self._copied = [torch.cuda.Event() for _ in range(2)]
        self._stream = torch.cuda.Stream(device)
        self._turn = 0

    def begin(self, half: PoolHalf) -> None:
        assert half.drained is not None
        torch.cuda.set_device(self._stream.device)  # this thread's own
        self._stream.wait_event(half.drained)
        torch.cuda.set_stream(self._stream)

    def slot(self, target: Tensor) -> _Slot:
        self._turn = 1 - self._turn
        return _Slot(self._buffers[self._turn], self._copied[self._turn], target, self._stream)

    def end(self, half: PoolHalf) -> None:
        assert half.filled is not None
        half.filled.record(self._stream)

    def finish(self) -> None:
        self._stream.synchronize()


class _Slot:
    """Memory to read into that goes to `target` when the block ends."""

    def __init__(self, buffer: Tensor, copied: torch.cuda.Event, target: Tensor, stream: torch.cuda.Stream) -> None:
        self._buffer, self._copied, self._target, self._stream = buffer, copied, target, stream

    def __enter__(self) -> Any:
        self._copied.synchronize()  # what was in the buffer before has left it
        return self._buffer[: self._target.nbytes].numpy()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            flat = self._target.view(torch.uint8).reshape(-1)
            flat.copy_(self._buffer[: flat.numel()], non_blocking=True)
            self._copied.record(self._stream)
