"""Fit steering vectors from the activations of contrast pairs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from steerkit.errors import UserError
from steerkit.models.fingerprint import Fingerprint
from steerkit.models.hookpoint import Hookpoint
from steerkit.vectors.direction import Direction
from steerkit.vectors.estimator import EstimatorName, estimate
from steerkit.vectors.steering_vectors import Slot, SteeringVectors
from steerkit.vectors.token_policy import TokenPolicy, reduce_tokens


@dataclass(frozen=True, slots=True, eq=False)
class PromptActivations:
    """What one hookpoint gave for some prompts.

    `values`: [n, tokens, d]; `types`: a bool mask [n, tokens] for each of content, eos and padding.
    """

    values: Tensor
    types: Mapping[str, Tensor]


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
    directions: dict[Slot, Direction] = {}
    for hookpoint, positive, negative in activations:
        above = reduce_tokens(token_policy, positive.values, positive.types)
        below = reduce_tokens(token_policy, negative.values, negative.types)
        for tokens in above:
            try:
                pair = _paired(above[tokens], below[tokens])
                directions[Slot(hookpoint, tokens)] = estimate(estimator, *pair)
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
