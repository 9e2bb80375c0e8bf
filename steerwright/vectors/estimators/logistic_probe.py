"""The normal of the plane that best separates positive from negative activations."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from steerwright.vectors.direction import Direction, normalised

RIDGE = 1e-2
MAX_ITERATIONS = 500


def logistic_probe(positive: Float[Tensor, "n d"], negative: Float[Tensor, "m d"], ridge: float = RIDGE) -> Direction:
    """Normal of a logistic regression that tells `positive` [n, d] from `negative` [m, d].

    Both classes weigh the same, whatever n and m. The activations are centred and divided by one common scale, so
    that `ridge` (the penalty on the squared weights) has no unit and the geometry is kept. Its norm is the distance
    of the two means along it. Full-batch L-BFGS in float64 from zero: deterministic.
    Raises ValueError when the means coincide, or when the probe finds no direction from negative to positive.

    Source: linear probes for intervention, arXiv:2306.03341.
    """
    positive, negative = positive.double(), negative.double()
    gap = positive.mean(0) - negative.mean(0)
    if gap.norm() == 0:
        raise ValueError("positive and negative activations have the same mean, so a probe has nothing to find")
    centre = (positive.mean(0) + negative.mean(0)) / 2
    scale = torch.cat([positive - centre, negative - centre]).square().mean().sqrt()
    above, below = (positive - centre) / scale, (negative - centre) / scale
    weight = torch.zeros_like(centre, requires_grad=True)
    bias = torch.zeros((), dtype=weight.dtype, device=weight.device, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        misfit = softplus(-(above @ weight + bias)).mean() + softplus(below @ weight + bias).mean()
        total = misfit / 2 + ridge * weight.square().sum()
        total.backward()
        return total

    with torch.enable_grad():
        optimiser.step(loss)
    normal = weight.detach()
    separation = gap @ normal / normal.norm()
    if not separation > 0:
        raise ValueError("the probe's direction does not lead from negative to positive activations")
    return normalised(normal, separation)
