"""Means over targets with intervals: prompts are drawn once for all targets, as all are judged on the same prompts.

Each target has a mean of its own over the pictures that count for it, and targets count alike, however many pictures
each has (the macro average). A resample draws as many prompts as there are, with replacement, and takes every picture
of each, as `steerwright.stats.bootstrap` does for one mean.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steerwright.stats.bootstrap import Bootstrap, Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Totals:
    """Of one target: sum and number of the values of each prompt, both [prompts] (zeros where it has none)."""

    sums: Floats
    counts: Floats

    @property
    def mean(self) -> float:
        """Mean over all values, NaN if there is none."""
        count = self.counts.sum()
        return float(self.sums.sum() / count) if count else float("nan")


class TargetBootstrap:
    """Resamples `prompts` (their ids, each once) as `bootstrap` says; the same settings and data give the same bits."""

    def __init__(self, bootstrap: Bootstrap, prompts: Sequence[Hashable]) -> None:
        self.bootstrap = bootstrap
        self._index = {prompt: place for place, prompt in enumerate(prompts)}
        count = len(self._index)
        if count == 0 or count < len(prompts):
            raise ValueError(f"Resampling needs prompts, each once; got {len(prompts)} of which {count} differ.")
        rng = np.random.default_rng((bootstrap.seed, count))
        self._draws = rng.multinomial(count, np.full(count, 1 / count), size=bootstrap.resamples).astype(np.float64)

    def totals(self, values: ArrayLike, prompts: Sequence[Hashable]) -> Totals:
        """Totals of `values` [n], value i being of the prompt i. Raises ValueError for values that are not finite."""
        numbers = np.asarray(values, dtype=np.float64)
        if numbers.shape != (len(prompts),) or not np.isfinite(numbers).all():
            raise ValueError(f"Need one finite value for each of {len(prompts)} rows, got shape {numbers.shape}.")
        codes = np.array([self._index[prompt] for prompt in prompts], dtype=np.int64)
        size = len(self._index)
        return Totals(
            np.bincount(codes, weights=numbers, minlength=size).astype(np.float64),
            np.bincount(codes, minlength=size).astype(np.float64),
        )

    def mean(self, parts: Sequence[Totals]) -> Interval:
        """Mean over targets of each target's mean; of a resample, over the targets that it drew prompts of."""
        parts = [part for part in parts if part.counts.any()]
        return self._interval(_macro([part.mean for part in parts]), self._means(parts), parts)

    def ratio(self, over: Sequence[Totals], under: Sequence[Totals]) -> Interval:
        """The mean over targets of `over`, divided by that of `under`, both on the same resamples."""
        pairs = [pair for pair in zip(over, under, strict=True) if pair[0].counts.any() and pair[1].counts.any()]
        first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        with np.errstate(divide="ignore", invalid="ignore"):
            estimate = np.float64(_macro([part.mean for part in first])) / _macro([part.mean for part in second])
            draws = self._means(first) / self._means(second)
        return self._interval(float(estimate), draws, first)

    def _means(self, parts: Sequence[Totals]) -> Floats:
        """The mean over targets in each resample [resamples]; NaN where a resample has no value of any target."""
        if not parts:
            return np.full(len(self._draws), np.nan)
        sums = self._draws @ np.stack([part.sums for part in parts], axis=1)
        counts = self._draws @ np.stack([part.counts for part in parts], axis=1)
        means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
        drawn = (counts > 0).sum(1)
        over_targets: Floats = np.divide(means.sum(1), drawn, out=np.full(len(means), np.nan), where=drawn > 0)
        return over_targets

    def _interval(self, estimate: float, draws: Floats, parts: Sequence[Totals]) -> Interval:
        level = self.bootstrap.level
        draws = draws[np.isfinite(draws)]
        low, high = np.nan, np.nan
        if len(draws) and np.isfinite(estimate):
            low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]).tolist()
        counts = np.sum([part.counts for part in parts], axis=0) if parts else np.zeros(0)
        return Interval(estimate, float(low), float(high), level, int((counts > 0).sum()), int(counts.sum()))


def _macro(means: Sequence[float]) -> float:
    return float(np.mean(means)) if means else float("nan")
