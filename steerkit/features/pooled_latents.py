"""One number for each latent in an image: its activations over the image's tokens, pooled three ways."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from steerkit.features.latent_entries import LatentEntries

Statistic = Literal["max", "mean", "top"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)


@dataclass(frozen=True, slots=True, eq=False)
class PooledLatents:
    """Largest activation over tokens, mean over tokens, and mean over the q largest tokens: float32 [images, n] each.

    A token on which a latent is not active counts with 0 in all three.
    """

    max: NDArray[np.float32]
    mean: NDArray[np.float32]
    top: NDArray[np.float32]


def pooled_latents(entries: LatentEntries, top_share: float) -> PooledLatents:
    """Pool over tokens; q = ceil(top_share * tokens), with 0 < top_share <= 1. Sums are taken in float64."""
    q = top_tokens(entries.tokens, top_share)
    group, value = entries.group, entries.value
    new = np.ones(len(group), dtype=bool)
    new[1:] = group[1:] != group[:-1]
    starts = np.flatnonzero(new)
    shape = (3, entries.images * entries.size)
    out = np.zeros(shape, dtype=np.float32)
    if len(starts):
        counts = np.diff(np.append(starts, len(group)))
        zeros = entries.tokens - counts
        largest = np.maximum.reduceat(value, starts)
        # Where a latent is silent on some token its largest is no less than 0 (activations may be negative: AbsTopK).
        out[0, group[starts]] = np.where(zeros > 0, np.maximum(largest, 0), largest)
        wide = value.astype(np.float64)
        out[1, group[starts]] = np.add.reduceat(wide, starts) / entries.tokens
        order = np.lexsort((-wide, group))
        ranked, run = wide[order], np.repeat(np.arange(len(starts)), counts)
        # Place among the image's tokens, the largest first: the silent tokens' zeros come before what is negative.
        place = np.arange(len(group)) - starts[run] + np.where(ranked < 0, zeros[run], 0)
        out[2, group[starts]] = np.add.reduceat(np.where(place < q, ranked, 0.0), starts) / q
    pooled = out.reshape(3, entries.images, entries.size)
    return PooledLatents(pooled[0], pooled[1], pooled[2])


def top_tokens(tokens: int, top_share: float) -> int:
    """q = ceil(top_share * tokens): how many tokens the mean of the largest is over."""
    if not 0 < top_share <= 1:
        raise ValueError(f"the share of tokens {top_share} is not above 0 and at most 1")
    # Shares are decimal fractions: 0.1 of 30 tokens are 3, though 0.1 * 30 is a little more in binary.
    return max(1, math.ceil(round(top_share * tokens, 9)))
