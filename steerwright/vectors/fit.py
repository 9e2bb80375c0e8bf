"""Fit steering vectors from the activations of contrast pairs."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from steerwright.activations.paired_moments import PairedMoments
from steerwright.activations.token_policy import PromptActivations, TokenPolicy, reduce_tokens
from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction, normalised
from steerwright.vectors.estimators.registry import EstimatorName, estimate
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey


def fit_vectors(
    activations: Iterable[tuple[Hookpoint, PromptActivations, PromptActivations]],
    *,
    concept: str,
    model: Fingerprint,
    estimator: EstimatorName,
    token_policy: TokenPolicy,
) -> SteeringVectors:
    """One direction (three for `typed`) per hookpoint from its positive and negative activations, paired by row.

    Hookpoints are taken one after the other, so only one needs to be in memory. Raises UserError that names the
    hookpoint where there is nothing to find: no pairs, no difference, values that are not finite.
    """
    directions: dict[VectorKey, Direction] = {}
    for hookpoint, positive, negative in activations:
        above = reduce_tokens(token_policy, positive.values, positive.types)
        below = reduce_tokens(token_policy, negative.values, negative.types)
        for tokens in above:
            try:
                pair = _paired(above[tokens], below[tokens])
                directions[VectorKey(hookpoint, tokens)] = estimate(estimator, *pair)
            except ValueError as error:
                raise UserError(
                    f"No {concept!r} vector can be fitted at {hookpoint} for {tokens} tokens: {error}. "
                    "Check the contrast pairs: each needs a positive and a negative prompt that differ."
                ) from error
    if not directions:
        raise UserError(f"There are no activations to fit {concept!r} vectors from; collect some first.")
    return SteeringVectors(concept, model, estimator, token_policy, directions)


def _paired(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs of which both sides have tokens of the wanted type (NaN marks those that have none)."""
    if len(positive) != len(negative):
        raise ValueError(f"there are {len(positive)} positive but {len(negative)} negative prompts")
    empty = positive.isnan().flatten(1).all(1) | negative.isnan().flatten(1).all(1)
    if empty.all():
        raise ValueError("no pair has tokens of this type")
    kept = ~empty
    if not (torch.isfinite(positive[kept]).all() and torch.isfinite(negative[kept]).all()):
        raise ValueError("the activations hold values that are not finite")
    return positive[kept], negative[kept]


# Steering vectors from running sums over contrast pairs, one per block, branch and time bin.


def vectors_from_moments(
    moments: Mapping[tuple[Hookpoint, str], PairedMoments],
    *,
    concept: str,
    model: Fingerprint,
    timesteps: tuple[float, ...],
    bins: int | None = None,
) -> SteeringVectors:
    """The mean difference of every hookpoint and branch, in `bins` runs of neighbouring steps; None: each step alone.

    Steps of a bin weigh the same. The control of a slot is the longest vector that the same sums give with the sides of
    the pairs swapped at random (`PairedMoments.shuffled`): a real concept is longer than all of them; there is none
    where nothing was swapped, as with too few pairs. Raises UserError where nothing was collected, values are not
    finite, or positive and negative prompts made no difference at all.

    Source: arXiv:2503.09630, section 3; there for each step, without a control.
    """
    directions: dict[VectorKey, Direction] = {}
    controls: dict[VectorKey, float] = {}
    for (hookpoint, branch), sums in moments.items():
        seen = [step for step in range(len(timesteps)) if sums.count[step]]
        if not seen:
            raise UserError(f"Nothing was collected at {hookpoint}, {branch} branch; collect it first.")
        for part in np.array_split(seen, min(bins or len(seen), len(seen))):
            steps = (int(part[0]), int(part[-1]))
            # Each step by its own count: an average of averages.
            weight = (1 / sums.count[part].double() / len(part))[:, None].to(sums.positive.device)
            above = (sums.positive[part] * weight).sum(0)
            below = (sums.negative[part] * weight).sum(0)
            slot = VectorKey(hookpoint, steps=steps, branch=branch)
            gap = above - below
            if not (torch.isfinite(above).all() and torch.isfinite(below).all()):
                raise UserError(
                    f"Activations at {hookpoint}, steps {steps[0]} to {steps[1]}, {branch} branch, are not finite: "
                    "half precision overflowed. Set the model's dtype to float32 or bfloat16."
                )
            # Exactly nothing, and rightly so: the unconditional branch at the first step has seen neither prompt.
            same = not gap.any()
            found = Direction(gap.float(), gap.new_zeros(()).float()) if same else normalised(gap)
            origin = (below @ found.unit.double()).float()
            directions[slot] = Direction(found.unit.cpu(), found.norm.cpu(), origin.cpu())
            if len(sums.shuffled):
                shuffled = (sums.shuffled[:, part] * weight).sum(1).norm(dim=-1)
                controls[slot] = float(shuffled.max())
    if not any(direction.norm > 0 for direction in directions.values()):
        raise UserError(
            f"There is nothing to fit {concept!r} vectors from: no activations, or prompts that made no difference. "
            "Check the contrast pairs: each needs a positive and a negative prompt that differ."
        )
    return SteeringVectors(concept, model, "mean_difference", "mean", directions, timesteps, controls)
