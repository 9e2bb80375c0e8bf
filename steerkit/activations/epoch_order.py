"""The order in which an epoch visits rows: stretches of files in a random order, shuffled window by window.

A window is as many stretches as half of the shuffle pool holds. Its rows are permuted when all are there, while the
next window is read into the other half. Everything is a function of (seed, epoch, window), so a position is three
numbers, and going on from it costs one window's reading, however far into the epoch it is.

Why not a pool from which random rows are drawn and replaced one by one: its content depends on the whole epoch before.
Stretches of all files in random order give a window rows of many shards, so tokens of one picture meet others of
everywhere, and different steps of it come in different windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

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
