"""The memory of a shuffled stream of rows: two halves, one being drained while the other is filled."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
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
        """Let whoever fills it wait for what the current stream has been asked to do."""
        if self.drained is not None:
            self.drained.record(torch.cuda.current_stream(self.rows.device))

    def shuffle(self, order: NDArray[np.int64]) -> None:
        """Give the rows out in this order of their places."""
        self.held = len(order)
        self.order = torch.from_numpy(order).to(self.rows.device)

    def draw(self, start: int, stop: int) -> Batch:
        """Rows `start` to `stop` of the order, as copies."""
        places = self.order[start:stop]
        return Batch(self.rows.index_select(0, places), self.steps.index_select(0, places))


def joined(parts: list[Batch]) -> Batch:
    """Batches one after the other; a single one as it is."""
    if len(parts) == 1:
        return parts[0]
    return Batch(torch.cat([part.rows for part in parts]), torch.cat([part.step for part in parts]))
