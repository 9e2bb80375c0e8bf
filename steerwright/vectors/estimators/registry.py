"""The estimators by name, and their use for a direction per token position."""

from typing import Literal, assert_never, get_args

import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.vectors.direction import NEGLIGIBLE, Direction
from steerwright.vectors.estimators.logistic_probe import logistic_probe
from steerwright.vectors.estimators.mean_difference import mean_difference
from steerwright.vectors.estimators.principal_component import principal_component

EstimatorName = Literal["mean_difference", "principal_component", "logistic_probe"]
ESTIMATORS: tuple[str, ...] = get_args(EstimatorName)


def estimate(name: EstimatorName, positive: Tensor, negative: Tensor) -> Direction:
    """Direction by the estimator `name` from activations [n, d], or one per position from [n, tokens, d].

    Positions where the classes' means coincide (BOS under a causal mask) get no direction: zeros, with norm 0.
    Raises ValueError when no position has one, UserError for an estimator that there is not.
    """
    if name not in ESTIMATORS:
        raise UserError(f"Estimator {name!r} does not exist; choose one of {', '.join(ESTIMATORS)}.")
    if positive.ndim == 2:
        return _estimate(name, positive, negative)
    gaps = (positive.double().mean(0) - negative.double().mean(0)).norm(dim=-1)
    differing = gaps > NEGLIGIBLE * gaps.max()
    if not differing.any():
        raise ValueError("positive and negative activations coincide at every position, so there is no direction")
    unit = torch.zeros(positive.shape[1:])
    norm = torch.zeros(positive.shape[1])
    for position in differing.nonzero().flatten().tolist():
        found = _estimate(name, positive[:, position], negative[:, position])
        unit[position], norm[position] = found.unit, found.norm
    return Direction(unit, norm)


def _estimate(name: EstimatorName, positive: Tensor, negative: Tensor) -> Direction:
    match name:
        case "mean_difference":
            return mean_difference(positive, negative)
        case "principal_component":
            return principal_component(positive, negative)
        case "logistic_probe":
            return logistic_probe(positive, negative)
        case _:
            assert_never(name)
