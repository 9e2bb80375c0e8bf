"""Steering vectors of one concept at every layer of a language model, from the residual stream of contrast pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from steerkit.activations.paired_moments import shuffle_signs
from steerkit.errors import UserError
from steerkit.models.fingerprint import Fingerprint
from steerkit.models.hookpoint import Hookpoint
from steerkit.vectors.estimator import EstimatorName, estimate
from steerkit.vectors.steering_vectors import Slot, SteeringVectors


def residual_vectors(
    positive: Tensor,
    negative: Tensor,
    hookpoints: Sequence[Hookpoint],
    *,
    concept: str,
    model: Fingerprint,
    policy: str,
    estimator: EstimatorName = "mean_difference",
    shuffles: int = 0,
    seed: int = 0,
) -> SteeringVectors:
    """One direction per layer from `positive` and `negative`, both [layers, pairs, d], row i of each of the same pair.

    `policy` (last, content, span:a:b) says which tokens of a text the rows were pooled over, for the file's header.
    Each direction records where the negative texts' mean lies along it. With `shuffles`, its control is the longest
    mean difference that so many random swaps of the pairs' sides give (of the mean difference only). Raises UserError
    where sides have not equally many texts, values are not finite, or the sides coincide.

    Source: contrastive activation addition, arXiv:2312.06681.
    """
    if positive.shape != negative.shape or positive.ndim != 3 or len(positive) != len(hookpoints):
        raise UserError(
            f"{concept!r} vectors need as many positive as negative texts at {len(hookpoints)} layers; found "
            f"{list(positive.shape)} and {list(negative.shape)}."
        )
    if not (torch.isfinite(positive).all() and torch.isfinite(negative).all()):
        raise UserError(
            f"Activations of the {concept!r} pairs are not finite: half precision overflowed. Set the model's dtype to "
            "float32 or bfloat16."
        )
    signs = shuffle_signs([str(pair) for pair in range(positive.shape[1])], shuffles, seed)
    directions, controls = {}, {}
    for hookpoint, above, below in zip(hookpoints, positive.double(), negative.double(), strict=True):
        try:
            found = estimate(estimator, above, below)
        except ValueError as error:
            raise UserError(
                f"No {concept!r} vector can be fitted at {hookpoint}: {error}. Check the contrast pairs: each needs a "
                "positive and a negative text that differ."
            ) from error
        slot = Slot(hookpoint)
        directions[slot] = replace(found, origin=(below.mean(0) @ found.unit.double()).float())
        if shuffles and estimator == "mean_difference":
            controls[slot] = float((signs @ (above - below) / len(above)).norm(dim=-1).max())
    return SteeringVectors(concept, model, estimator, policy, directions, controls=controls)


def held_out_scores(
    positive: Tensor, negative: Tensor, estimator: EstimatorName = "mean_difference", folds: int = 6
) -> tuple[Tensor, Tensor]:
    """How far each text lies along a direction that was fitted without its pair: float64 [pairs] for either side.

    `positive`, `negative`: [pairs, d] at one layer. Pair i is held out in fold i mod `folds`. A score counts from the
    midpoint of the fitting pairs' means in units of half their distance: +1 where the positive mean lies, -1 where the
    negative one does, so that scores of different folds compare. NaN where the fitting pairs coincide, or are none.
    """
    above, below = positive.double(), negative.double()
    scores = torch.full((2, len(above)), torch.nan, dtype=torch.float64)
    fold = torch.arange(len(above)) % folds
    for number in range(min(folds, len(above))):
        test, fit = fold == number, fold != number
        if not fit.any():
            continue
        try:
            unit = estimate(estimator, above[fit], below[fit]).unit.double()
        except ValueError:
            continue
        ends = above[fit].mean(0) @ unit, below[fit].mean(0) @ unit
        middle, half = (ends[0] + ends[1]) / 2, (ends[0] - ends[1]) / 2
        scores[0, test], scores[1, test] = (above[test] @ unit - middle) / half, (below[test] @ unit - middle) / half
    return scores[0], scores[1]
