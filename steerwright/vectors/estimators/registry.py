"""The estimators by name, and their use for a direction per token position."""

from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import AfterValidator
from torch import Tensor

from steerwright.errors import UserError
from steerwright.vectors.direction import NEGLIGIBLE, Direction
from steerwright.vectors.estimators.logistic_probe import logistic_probe
from steerwright.vectors.estimators.mean_difference import mean_difference
from steerwright.vectors.estimators.principal_component import principal_component

Estimator = Callable[[Tensor, Tensor], Direction]
"""From positive activations [n, d] and negative ones [m, d] to a direction; ValueError where there is none."""

ESTIMATORS: dict[str, Estimator] = {
    "mean_difference": mean_difference,
    "principal_component": principal_component,
    "logistic_probe": logistic_probe,
}
"""By the name that params.yaml gives. A new one is a file beside these and a line here."""


def _known(name: str) -> str:
    if name not in ESTIMATORS:
        raise ValueError(f"{name!r} does not exist; choose one of {', '.join(ESTIMATORS)}")
    return name


EstimatorName = Annotated[str, AfterValidator(_known)]


def estimate(name: str, positive: Float[Tensor, "n *tokens d"], negative: Float[Tensor, "m *tokens d"]) -> Direction:
    """Direction by the estimator `name` from activations [n, d], or one per position from [n, tokens, d].

    Positions where the classes' means coincide (BOS under a causal mask) get no direction: zeros, with norm 0.
    Raises ValueError when no position has one, UserError for an estimator that there is not.
    """
    if name not in ESTIMATORS:
        raise UserError(f"Estimator {name!r} does not exist; choose one of {', '.join(ESTIMATORS)}.")
    fit = ESTIMATORS[name]
    if positive.ndim == 2:
        return fit(positive, negative)
    gaps = (positive.double().mean(0) - negative.double().mean(0)).norm(dim=-1)
    differing = gaps > NEGLIGIBLE * gaps.max()
    if not differing.any():
        raise ValueError("positive and negative activations coincide at every position, so there is no direction")
    unit = torch.zeros(positive.shape[1:])
    norm = torch.zeros(positive.shape[1])
    for position in differing.nonzero().flatten().tolist():
        found = fit(positive[:, position], negative[:, position])
        unit[position], norm[position] = found.unit, found.norm
    return Direction(unit, norm)
