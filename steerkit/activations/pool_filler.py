"""Fill halves of the shuffle pool with rows of a store: on a CPU in place, on CUDA through pinned memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steerkit.activations.epoch_order import STRETCH_BYTES, EpochOrder
from steerkit.activations.row_ranges import Piece, RowRanges
from steerkit.activations.shard_reader import ShardReader
from steerkit.activations.shuffle_pool import PoolHalf

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
