"""Bootstrap intervals over prompts: all seeds of a prompt are drawn, or left out, together.

Images of one prompt resemble each other, so resampling images would give intervals that are too narrow. A resample
here draws as many prompts as there are, with replacement, and takes every image of each (the cluster bootstrap;
Davison and Hinkley 1997, section 3.8). Intervals are percentile intervals: they never leave the range of the data,
and have no width where every prompt agrees.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic on all the data, and its percentile interval at `level`.

    `clusters` and `rows` count the prompts and images behind it. `low` and `high` may be infinite, and everything may
    be NaN, where a ratio has nothing under it.
    """

    estimate: float
    low: float
    high: float
    level: float
    clusters: int
    rows: int

    def excludes(self, value: float) -> bool:
        """True where `value` lies outside the interval; false for an undefined one, and where that could not be told.

        n clusters that mean nothing all lie on one side of `value` once in 2^(n-1), and then no resample crosses it:
        an interval of 95 % needs six.
        """
        enough = 2.0 ** (1 - self.clusters) <= 1 - self.level + 1e-12
        return enough and bool(self.low > value or self.high < value)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are drawn; the same settings and data give the same bits.

    `level` is the share that the interval should cover, `resamples` the number of draws.
    """

    resamples: int = 4000
    level: float = 0.95
    seed: int = 0

    def mean(self, values: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
        """Mean over all rows of `values` [n] (numbers or booleans)."""
        sums, counts = _totals(clusters, values)
        draws = self._weights(len(counts))
        return self._interval(sums.sum() / counts.sum(), (draws @ sums) / (draws @ counts), counts)

    def paired_difference(self, first: ArrayLike, second: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
        """Mean of `first` minus mean of `second`, both [n], row i of each from the same prompt and seed."""
        first_sums, counts = _totals(clusters, first)
        second_sums, _ = _totals(clusters, second)
        return self.mean_from_totals(first_sums - second_sums, counts)

    def ratio(self, first: ArrayLike, second: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
        """Mean of `first` over mean of `second`, paired by prompt.

        Resamples in which both means are zero say nothing and are left out; a zero under the line alone is infinite.
        """
        first_sums, counts = _totals(clusters, first)
        second_sums, _ = _totals(clusters, second)
        draws = self._weights(len(counts))
        with np.errstate(divide="ignore", invalid="ignore"):
            estimate = np.float64(first_sums.sum()) / np.float64(second_sums.sum())
            ratios = (draws @ first_sums) / (draws @ second_sums)
        return self._interval(estimate, ratios, counts)

    def relative_difference(self, first: ArrayLike, second: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
        """(mean of `first` - mean of `second`) / mean of `second`: 0.4 says 40 % more than the second."""
        ratio = self.ratio(first, second, clusters)
        return Interval(ratio.estimate - 1, ratio.low - 1, ratio.high - 1, ratio.level, ratio.clusters, ratio.rows)

    def mean_from_totals(self, sums: Floats, counts: Floats) -> Interval:
        """The mean where each prompt is known by the sum of its rows and their number, both [prompts]."""
        draws = self._weights(len(counts))
        return self._interval(sums.sum() / counts.sum(), (draws @ sums) / (draws @ counts), counts)

    def _weights(self, clusters: int) -> Floats:
        """How often each prompt is drawn [resamples, prompts]; each row sums to the number of prompts."""
        return _draws(self.seed, clusters, self.resamples)

    def _interval(self, estimate: float, draws: Floats, counts: Floats) -> Interval:
        draws = draws[~np.isnan(draws)]
        tail = (1 - self.level) / 2
        low, high = np.nan, np.nan
        if len(draws) and not np.isnan(estimate):
            # Between a finite value and an infinite one there is nothing to interpolate.
            ends = np.array([tail, 1 - tail])
            if np.isfinite(draws).all():
                low, high = np.quantile(draws, ends).tolist()
            else:
                low, high = np.quantile(draws, ends, method="inverted_cdf").tolist()
        return Interval(float(estimate), float(low), float(high), self.level, len(counts), int(counts.sum()))


@lru_cache(maxsize=32)  # a report asks for hundreds of intervals over the same few groups of prompts
def _draws(seed: int, clusters: int, resamples: int) -> Floats:
    rng = np.random.default_rng((seed, clusters))
    weights = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(np.float64)
    weights.flags.writeable = False
    return weights


def _totals(clusters: Sequence[Hashable], values: ArrayLike) -> tuple[Floats, Floats]:
    """Sum and number of rows of each cluster, clusters in order of first appearance."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or len(numbers) != len(clusters):
        raise ValueError(f"Need one value for each of {len(clusters)} rows, got an array of shape {numbers.shape}.")
    if len(numbers) == 0:
        raise ValueError("There are no rows to resample.")
    if not np.isfinite(numbers).all():
        raise ValueError(f"{(~np.isfinite(numbers)).sum()} of {len(numbers)} values are not finite.")
    index: dict[Hashable, int] = {}
    codes = np.array([index.setdefault(cluster, len(index)) for cluster in clusters])
    return np.bincount(codes, weights=numbers).astype(np.float64), np.bincount(codes).astype(np.float64)
