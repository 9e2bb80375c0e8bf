"""Would other prompts have selected the same latents?"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerkit.concepts.ranks import LatentRanks
from steerkit.concepts.scores import share_difference


def prompt_halves(prompt: NDArray[np.int64], pairs: int, seed: int) -> NDArray[np.bool_]:
    """Random halves of the prompts and their complements: [2 * pairs, images], by the images' prompts."""
    numbers, prompt_of = np.unique(prompt, return_inverse=True)
    half = np.arange(len(numbers)) < len(numbers) // 2
    drawn = np.random.default_rng(seed).permuted(np.tile(half, (pairs, 1)), axis=1)
    return np.concatenate([drawn, ~drawn])[:, prompt_of]


class Stability:
    """Share of the `halves` of the prompts in which a latent is among the best by share difference.

    `halves` bool [halves, images], `label` int64 [images], 0 to `values` - 1. Source: stability selection with
    complementary pairs, arXiv:1105.5578.
    """

    def __init__(self, halves: NDArray[np.bool_], label: NDArray[np.int64], values: int, size: int) -> None:
        self._members = torch.from_numpy(np.stack([halves & (label == value) for value in range(values)])).float()
        self._sums = torch.zeros(values, len(halves), size)

    def add(self, where: slice, ranks: LatentRanks) -> None:
        """Take in the token means of the latents `where`."""
        for latents in ranks.live_blocks():
            self._sums[:, :, where.start + torch.from_numpy(latents)] = self._members @ ranks.dense(latents, ranks.mean)

    def shares(self, top: int) -> NDArray[np.float64]:
        """For each label and latent, [values, n]: how often it is among the `top` and its score is positive.

        A half without images of the label, or without any other, is left out; NaN where none is left.
        """
        count = self._members.sum(2, keepdim=True)
        total, images = self._sums.sum(0), count.sum(0)
        share = np.full((len(self._sums), self._sums.shape[2]), np.nan)
        for value, (sums, with_label) in enumerate(zip(self._sums, count, strict=True)):
            usable = ((with_label > 0) & (with_label < images)).squeeze(1)
            if usable.any():
                own = sums[usable] / with_label[usable]
                others = (total[usable] - sums[usable]) / (images - with_label)[usable]
                share[value] = _selected(share_difference(own, others), top).double().mean(0).numpy()
        return share


def _selected(scores: Tensor, top: int) -> Tensor:
    """Which latents are among the `top` of their row and above zero: bool like `scores` [rows, n]."""
    best, places = scores.topk(min(top, scores.shape[1]))
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, places, best > 0)
