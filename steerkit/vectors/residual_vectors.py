"""Steering vectors of one concept at every layer of a language model, from the residual stream of contrast pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from steerkit.activations.paired_moments import shuffle_signs
from steerkit.errors import UserError
from steerkit.models.fingerprint import Fingerprint
from steerkit.models.hookpoint import Hookpoint
from steerkit.vectors.direction import Direction, normalised
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
    others: Tensor | None = None,
    shuffles: int = 0,
    seed: int = 0,
) -> SteeringVectors:
    """One direction per layer from `positive` and `negative`, both [layers, pairs, d], row i of each of the same pair.

    `policy` (last, content, span:a:b) says which tokens of a text the rows were pooled over, for the file's header.
    `others`, [layers, d], is the mean of other concepts' differences (`mean_of_others`), which is taken off: what is
    common to all concepts, as being none of them, is no mark of this one. Each direction records where the negative
    texts' mean lies along it. With `shuffles`, its control is the longest mean difference that so many random swaps of
    the pairs' sides give (`shuffle_signs`), in the units of its norm: as many times the norm as that is longer than the
    mean difference itself, less `others`. There is none with too few pairs (`fewest_pairs`). Raises UserError where
    sides have not equally many texts, values are not finite, the sides coincide, or differ in nothing but what other
    concepts do too.

    Source: contrastive activation addition, arXiv:2312.06681; taking off a mean of others, arXiv:2312.03813.
    """
    if positive.shape != negative.shape or positive.ndim != 3 or len(positive) != len(hookpoints):
        raise UserError(
            f"{concept!r} vectors need as many positive as negative texts at {len(hookpoints)} layers; found "
            f"{list(positive.shape)} and {list(negative.shape)}."
        )
    if positive.shape[1] == 0:
        raise UserError(f"There are no texts to fit {concept!r} vectors from; give pairs.")
    if not (torch.isfinite(positive).all() and torch.isfinite(negative).all()):
        raise UserError(
            f"Activations of the {concept!r} pairs are not finite: half precision overflowed. Set the model's dtype to "
            "float32 or bfloat16."
        )
    signs = shuffle_signs([str(pair) for pair in range(positive.shape[1])], shuffles, seed)
    directions, controls = {}, {}
    for layer, (hookpoint, above, below) in enumerate(
        zip(hookpoints, positive.double(), negative.double(), strict=True)
    ):
        try:
            found = _direction(estimator, above, below, None if others is None else others[layer])
        except ValueError as error:
            raise UserError(
                f"No {concept!r} vector can be fitted at {hookpoint}: {error}. Check the contrast pairs: each needs a "
                "positive and a negative text that differ."
            ) from error
        slot = Slot(hookpoint)
        directions[slot] = replace(found, origin=(below.mean(0) @ found.unit.double()).float())
        if len(signs):
            apart = above - below if others is None else above - below - others[layer].double()
            longest = float((signs @ apart / len(above)).norm(dim=-1).max())
            # The norm of other estimators is shorter than what it is held against here: compare like with like.
            plain = estimator == "mean_difference" and others is None
            controls[slot] = longest if plain else longest * float(found.norm) / float(apart.mean(0).norm())
    name = estimator if others is None else f"centred-{estimator}"
    return SteeringVectors(concept, model, name, policy, directions, controls=controls)


def mean_of_others(differences: Mapping[str, Tensor], concept: str) -> Tensor | None:
    """The mean of all `differences` (by concept, each alike in shape) but that of `concept`; None where there is none.

    `differences`: positive less negative mean, [layers, d].
    """
    rest = [difference for name, difference in differences.items() if name != concept]
    return torch.stack(rest).mean(0) if rest else None


def held_out_scores(
    positive: Tensor,
    negative: Tensor,
    estimator: EstimatorName = "mean_difference",
    others: Tensor | None = None,
    folds: int = 6,
) -> tuple[Tensor, Tensor]:
    """How far each text lies along a direction that was fitted without its pair: float64 [pairs] for either side.

    `positive`, `negative`: [pairs, d] at one layer, `others` [d]. Pair i is held out in fold i mod `folds`. A score
    counts from the midpoint of the fitting pairs' means in units of half their distance: +1 where the positive mean
    lies, -1 where the negative one does, so that scores of different folds compare. NaN where the fitting pairs
    coincide, or are none.
    """
    above, below = positive.double(), negative.double()
    scores = torch.full((2, len(above)), torch.nan, dtype=torch.float64)
    fold = torch.arange(len(above)) % folds
    for number in range(min(folds, len(above))):
        test, fit = fold == number, fold != number
        if not fit.any():
            continue
        try:
            unit = _direction(estimator, above[fit], below[fit], others).unit.double()
        except ValueError:
            continue
        ends = above[fit].mean(0) @ unit, below[fit].mean(0) @ unit
        middle, half = (ends[0] + ends[1]) / 2, (ends[0] - ends[1]) / 2
        scores[0, test], scores[1, test] = (above[test] @ unit - middle) / half, (below[test] @ unit - middle) / half
    return scores[0], scores[1]


def _direction(estimator: EstimatorName, above: Tensor, below: Tensor, others: Tensor | None) -> Direction:
    """The estimator's direction, less `others`; its norm is the distance of the sides' means along it."""
    found = estimate(estimator, above, below)
    if others is None:
        return found
    own = found.norm.double() * found.unit.double() - others.double()
    unit = normalised(own).unit
    apart = (above.mean(0) - below.mean(0)) @ unit.double()
    if apart <= 0:
        raise ValueError("its pairs differ in nothing but what those of the other concepts do, too")
    return Direction(unit, apart.float())
