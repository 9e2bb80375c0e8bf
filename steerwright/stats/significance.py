"""Could a latent separate a concept's images by chance? Permutation tests that spend their draws where it matters."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerwright.stats.ranks import LatentRanks, auroc

# A latent that chance has reached this often needs no more draws.
ENOUGH = 10
# Draws after which it is seen who needs more, and how many are drawn at once from then on.
_FIRST, _THEN = 100, 1000
_KEPT_BYTES = 2**28
# Rounding of float32 sums; far less than the steps in which an AUROC goes.
_TOLERANCE = 1e-6


class LabelPermutations:
    """Labels of images, permuted over prompts: images of one prompt (other seeds) keep the same label, because they
    are not independent witnesses. The same draws for all latents and steps, from `seed`.

    `label` int64 [images]; `prompt` int64 [images], the prompt's number. Draws are kept while they are few, else made
    again when they are needed again.
    """

    def __init__(self, label: NDArray[np.int64], prompt: NDArray[np.int64], seed: int) -> None:
        _, first, self._prompt_of = np.unique(prompt, return_index=True, return_inverse=True)
        self._labels = label[first].astype(np.uint8 if label.max(initial=0) < 256 else np.uint16)
        if (self._labels[self._prompt_of] != label).any():
            raise ValueError("images of one prompt have different labels")
        self._seed = seed
        self._kept: dict[int, NDArray[np.integer]] = {}

    def draws(self, start: int, stop: int) -> NDArray[np.integer]:
        """Permuted labels of all images, [stop - start, images]; `start` and `stop` as `draw_rounds` gives them."""
        if start not in self._kept:
            tiled = np.tile(self._labels, (stop - start, 1))
            drawn = np.random.default_rng([self._seed, start]).permuted(tiled, axis=1)[:, self._prompt_of]
            if sum(kept.nbytes for kept in self._kept.values()) + drawn.nbytes > _KEPT_BYTES:
                return drawn
            self._kept[start] = drawn
        return self._kept[start]


def draw_rounds(most: int) -> Iterator[tuple[int, int]]:
    """First and last + 1 of the draws that are made at once, up to `most`: 100, up to 1,000, then by thousands."""
    bounds = [0, _FIRST, *range(_THEN, most, _THEN)]
    bounds = [*(bound for bound in bounds if bound < most), most]
    yield from pairwise(bounds)


def permutation_p_values(
    ranks: LatentRanks,
    label: NDArray[np.int64],
    values: int,
    permutations: LabelPermutations,
    most: int,
    finely: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """One-sided p-values [values, n]: how often permuted labels give a latent at least its AUROC for a label.

    (1 + times reached) / (1 + draws), so never 0; 1 for latents that are never active. After 100 draws, 1,000, and
    every 1,000 more, latents that chance has reached 10 times stop; the others go on up to `most`. Such p-values are as
    valid as those of a fixed number of draws: Besag and Clifford, Biometrika 78, 1991. Where bool `finely` [values, n]
    is given, latents outside it stop at 1,000 draws, so that their p-values are at least 1/1,001.
    """
    observed = auroc(ranks, label, values)
    p_values = np.ones_like(observed)
    for latents in ranks.live_blocks():
        above = ranks.dense(latents, ranks.above)
        zero_rank = torch.from_numpy(ranks.zero_rank[latents]).float()
        for value in range(values):
            if not np.isnan(observed[value, latents]).any():
                reference = torch.from_numpy(observed[value, latents]).float()
                fine = torch.from_numpy(np.ones(len(latents), bool) if finely is None else finely[value, latents])
                p_values[value, latents] = _by_rounds(above, zero_rank, reference, value, permutations, most, fine)
    return p_values


def _by_rounds(
    above: Tensor,
    zero_rank: Tensor,
    observed: Tensor,
    value: int,
    permutations: LabelPermutations,
    most: int,
    finely: Tensor,
) -> NDArray[np.float64]:
    reached = torch.zeros(len(observed), dtype=torch.int64)
    drawn = torch.zeros(len(observed), dtype=torch.int64)
    going = torch.arange(len(observed))
    columns = above
    for start, stop in draw_rounds(most):
        member = torch.from_numpy(permutations.draws(start, stop) == value).float()
        chance = _auroc(member, columns, zero_rank[going])
        reached[going] += (chance >= observed[going] - _TOLERANCE).sum(0)
        drawn[going] = stop
        more = (reached[going] < ENOUGH) & (finely[going] if stop >= _THEN else True)
        if not more.any():
            break
        if not more.all():
            going = going[more]
            columns = above[:, going]
    p: NDArray[np.float64] = ((1 + reached).double() / (1 + drawn).double()).numpy()
    return p


def _auroc(member: Tensor, above: Tensor, zero_rank: Tensor) -> Tensor:
    """AUROC [draws, latents] where float32 `member` [draws, images] is 1 for images with the label."""
    count = member.sum(1, keepdim=True)
    without = len(above) - count
    return (member @ above + count * (zero_rank - (count + 1) / 2)) / (count * without)


# Control of the false discovery rate.


def q_values(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest rate of false discoveries at which each test of a family counts as a discovery; shape of `p_values`.

    All elements together are the family. Source: Benjamini and Hochberg, J. R. Stat. Soc. B 57, 1995.
    """
    flat = p_values.reshape(-1)
    order = np.argsort(flat)
    scaled = flat[order] * len(flat) / np.arange(1, len(flat) + 1)
    q = np.empty_like(flat)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return q.reshape(p_values.shape)
