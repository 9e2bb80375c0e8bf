"""Ranks of images by each latent's token mean, and the area under the ROC curve that they give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

# Elements of a dense block [images, latents]: 64 MiB of float32.
BLOCK = 2**24
# Token means that are ranked at once; each takes some 60 bytes meanwhile.
ENTRIES = 2**22


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """The token means at one step that are not zero: `image` int32, `latent` int32, `mean` float32, all [entries]."""

    image: NDArray[np.int32]
    latent: NDArray[np.int32]
    mean: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LatentRanks:
    """Ranks (1 is the least, ties share their mean) of `images` images by each of n latents' token means.

    Most means are 0, and all those have one rank: `zero_rank` float64 [n]. The others are sparse, sorted by latent:
    `image` int64, `latent` int64, and `above` float64, the rank less the zeros' rank, all [entries]. `starts`
    [n + 1]: where each latent's entries begin. `mean` float32 [entries] is the token mean itself.
    """

    images: int
    zero_rank: NDArray[np.float64]
    image: NDArray[np.int64]
    latent: NDArray[np.int64]
    above: NDArray[np.float64]
    mean: NDArray[np.float32]
    starts: NDArray[np.int64]

    @property
    def live(self) -> NDArray[np.int64]:
        """Latents that are active in any of the images, ascending."""
        return np.flatnonzero(np.diff(self.starts))

    def dense(self, latents: NDArray[np.int64], what: NDArray[np.float64] | NDArray[np.float32]) -> Tensor:
        """`what` ([entries]: `above` or `mean`) of consecutive or scattered `latents`: float32 [images, latents]."""
        lengths = np.diff(self.starts)[latents]
        entries = np.repeat(self.starts[latents] - lengths.cumsum() + lengths, lengths) + np.arange(lengths.sum())
        out = np.zeros((self.images, len(latents)), dtype=np.float32)
        out[self.image[entries], np.repeat(np.arange(len(latents)), lengths)] = what[entries]
        return torch.from_numpy(out)

    def live_blocks(self) -> Iterator[NDArray[np.int64]]:
        """The live latents, so many at a time that a dense block of them stays small."""
        at_once = max(1, BLOCK // max(1, self.images))
        for start in range(0, len(self.live), at_once):
            yield self.live[start : start + at_once]


class StepRanks:
    """The ranks at one step, a range of latents at a time, so that memory does not grow with the number of images.

    `position` [all images] numbers those that take part from 0; others have -1. May be gone through several times.
    """

    def __init__(self, entries: Entries, position: NDArray[np.int64], size: int) -> None:
        self._entries, self._position = entries, position
        ends = np.bincount(entries.latent, minlength=size).cumsum()
        self._bounds = [0]
        while self._bounds[-1] < size:
            before = ends[self._bounds[-1] - 1] if self._bounds[-1] else 0
            self._bounds.append(max(self._bounds[-1] + 1, int(np.searchsorted(ends, before + ENTRIES, "right"))))
        self._only: LatentRanks | None = None

    def __iter__(self) -> Iterator[tuple[slice, LatentRanks]]:
        """Ranges of latents, and their ranks; latents are numbered from the range's first there."""
        for first, end in pairwise(self._bounds):
            ranks = self._only or latent_ranks(self._entries, self._position, slice(first, end))
            if len(self._bounds) == 2:
                self._only = ranks
            yield slice(first, end), ranks


def latent_ranks(entries: Entries, position: NDArray[np.int64], latents: slice) -> LatentRanks:
    """Rank images by each of `latents`; `position` [all images] numbers those that take part from 0, others -1."""
    size = latents.stop - latents.start
    where = position[entries.image]
    taking = (where >= 0) & (entries.latent >= latents.start) & (entries.latent < latents.stop)
    image, latent = where[taking], entries.latent[taking].astype(np.int64) - latents.start
    mean = entries.mean[taking]
    order = np.argsort(latent << 32 | _ordered_bits(mean))
    image, latent, mean = image[order], latent[order], mean[order]
    images = int(position.max(initial=-1)) + 1
    counts = np.bincount(latent, minlength=size)
    starts = np.concatenate([[0], counts.cumsum()])
    below = np.bincount(latent[mean < 0], minlength=size)
    zeros = images - counts
    # Rank of each entry within its latent: its place, after the zeros if it is positive; ties share their mean place.
    place = np.arange(len(mean)) - starts[latent] + np.where(mean > 0, zeros[latent], 0)
    run = np.ones(len(mean), dtype=bool)
    run[1:] = (latent[1:] != latent[:-1]) | (mean[1:] != mean[:-1])
    run_of = run.cumsum() - 1
    shared = np.bincount(run_of, place) / np.maximum(np.bincount(run_of), 1) if len(mean) else place
    zero_rank = below + (zeros + 1) / 2
    above = (shared[run_of] + 1 if len(mean) else np.zeros(0)) - zero_rank[latent]
    return LatentRanks(images, zero_rank, image, latent, above, mean, starts)


def auroc(ranks: LatentRanks, label: NDArray[np.int64], values: int) -> NDArray[np.float64]:
    """Area under the ROC curve of each latent for each of `values` labels against all others: [values, n].

    `label` [images]: 0 to values - 1. Ties count half; 0.5 for a latent that is never active; NaN where a label has no
    image or all. It is the probability that an image with the label has a higher token mean than one without.
    """
    size = len(ranks.zero_rank)
    above = np.bincount(label[ranks.image] * size + ranks.latent, ranks.above, values * size).reshape(values, size)
    with_label = np.bincount(label, minlength=values)[:, None].astype(np.float64)
    without = ranks.images - with_label
    with np.errstate(invalid="ignore", divide="ignore"):
        return (above + with_label * (ranks.zero_rank - (with_label + 1) / 2)) / (with_label * without)


def auroc_of(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """The same for one score [images] and one label; NaN where all or none are positive."""
    negatives, positives = np.sort(scores[~positive]), scores[positive]
    if not (len(negatives) and len(positives)):
        return float("nan")
    below = np.searchsorted(negatives, positives, "left") + np.searchsorted(negatives, positives, "right")
    return float(below.mean() / 2 / len(negatives))


def _ordered_bits(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Integers from 0 to 2^32 - 1 in the order of `values`."""
    bits = values.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -1 - (bits & 0x7FFFFFFF), bits) + 2**31


# How sure an area under the ROC curve is.

# Half the interval's width at the first bisection is 1/2; after these it is below 1e-15.
_BISECTIONS = 50


def area_interval(
    area: ArrayLike, positives: ArrayLike, negatives: ArrayLike, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score interval of areas (any one shape) from so many positive and negative cases: low and high.

    The values t for which |t - area| <= z sd(t), with Hanley and McNeil's variance (Radiology 143, 1982) in the form of
    Newcombe's method 5 (Stat. Med. 25, 2006): t (1 - t) (1 + N ((1 - t) / (2 - t) + t / (1 + t))) / (m n), with
    N = (m + n) / 2 - 1. Unlike Wald's it has a width at an area of 1. NaN where the area or a count is none.
    """
    from statistics import NormalDist

    a, m, n = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in (area, positives, negatives)))
    z = NormalDist().inv_cdf((1 + level) / 2)
    known = np.isfinite(a) & (m > 0) & (n > 0)
    m, n = np.where(known, m, 1), np.where(known, n, 1)

    def within(t: NDArray[np.float64]) -> NDArray[np.bool_]:
        pairs = (m + n) / 2 - 1
        variance = t * (1 - t) * (1 + pairs * ((1 - t) / (2 - t) + t / (1 + t))) / (m * n)
        inside: NDArray[np.bool_] = (t - a) ** 2 <= z * z * variance
        return inside

    ends = []
    for bound in (0.0, 1.0):
        inside, outside = np.where(known, a, 0.5), np.full_like(a, bound)
        for _ in range(_BISECTIONS):
            middle = (inside + outside) / 2
            here = within(middle)
            inside, outside = np.where(here, middle, inside), np.where(here, outside, middle)
        ends.append(np.where(known, (inside + outside) / 2, np.nan))
    return ends[0], ends[1]
