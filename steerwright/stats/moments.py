"""Mean and variance of rows that pass by once, in float64."""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Running count, mean and variance per feature; batches may come in any sizes and from several runs.

    Source: pairwise update of Chan, Golub, LeVeque 1979, which keeps precision where sums of squares would not.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self.dropped = 0
        """Rows left out because a value in them was not finite."""
        self.mean = torch.zeros(width, dtype=torch.float64)
        self._squares = torch.zeros(width, dtype=torch.float64)

    def update(self, rows: Tensor) -> None:
        """Take in `rows` [n, width] of any dtype and device."""
        finite = torch.isfinite(rows).all(1)
        kept = rows[finite].to(device="cpu", dtype=torch.float64)
        self.dropped += int((~finite).sum())
        if len(kept):
            mean = kept.mean(0)
            self._combine(len(kept), mean, ((kept - mean) ** 2).sum(0))

    def merge(self, other: Moments) -> None:
        """Take in all that `other` has seen."""
        self.dropped += other.dropped
        if other.count:
            self._combine(other.count, other.mean, other._squares)

    def variance(self, correction: int = 1) -> Tensor:
        """Variance float64 [width], divided by count - `correction`; NaN while there are too few rows."""
        freedom = self.count - correction
        return self._squares / freedom if freedom > 0 else torch.full_like(self._squares, torch.nan)

    def _combine(self, count: int, mean: Tensor, squares: Tensor) -> None:
        total = self.count + count
        apart = mean - self.mean
        self.mean = self.mean + apart * (count / total)
        self._squares = self._squares + squares + apart**2 * (self.count * count / total)
        self.count = total
