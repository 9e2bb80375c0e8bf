"""How much more a latent says of a concept's images than of the others', from means and variances."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from steerkit.concepts.concept_moments import ConceptMoments

MomentScore = Literal["share_difference", "mean_difference", "cohens_d"]
MOMENT_SCORES: tuple[MomentScore, ...] = get_args(MomentScore)
_SHARE_GUARD = 1e-8


def share_difference(mean: Tensor, mean_others: Tensor) -> Tensor:
    """Difference of the shares of the total that each latent has in `mean` and in `mean_others`, all [..., n].

    mean / (sum(mean) + 1e-8) - mean_others / (sum(mean_others) + 1e-8), between -1 and 1. Source: SAeUron,
    arXiv:2501.18052, as its code has it.
    """
    own = mean / (mean.sum(-1, keepdim=True) + _SHARE_GUARD)
    return own - mean_others / (mean_others.sum(-1, keepdim=True) + _SHARE_GUARD)


def cohens_d(
    count: int, mean: Tensor, variance: Tensor, count_others: int, mean_others: Tensor, variance_others: Tensor
) -> Tensor:
    """Difference of means over the pooled sample standard deviation, [n].

    Where nothing varies it is 0 if the means agree too, else infinite with the difference's sign; 0 for fewer than
    three images, which have no spread to compare with.
    """
    freedom = count + count_others - 2
    if freedom < 1:
        return torch.zeros_like(mean)
    pooled = ((count - 1) * variance + (count_others - 1) * variance_others) / freedom
    difference = mean - mean_others
    return torch.where(difference == 0, 0.0, difference / pooled.sqrt())


def moment_scores(moments: ConceptMoments, concept: str, step: int | None, by: MomentScore) -> Tensor:
    """Score of every latent for `concept` at `step` (None: pooled) against the other concepts of its axis: float64 [n].

    With no other concept on the axis the share difference is the mean itself, as published, and so is the mean
    difference; Cohen's d is 0.
    """
    count, mean, variance = moments.mean_and_variance([moments.index(concept)], step)
    others = moments.others(concept)
    if not others:
        return torch.zeros_like(mean) if by == "cohens_d" else mean
    count_others, mean_others, variance_others = moments.mean_and_variance(others, step)
    if by == "share_difference":
        return share_difference(mean, mean_others)
    if by == "mean_difference":
        return mean - mean_others
    return cohens_d(count, mean, variance, count_others, mean_others, variance_others)
