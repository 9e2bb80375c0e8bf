"""The mean of the positive activations minus the mean of the negative ones."""

from jaxtyping import Float
from torch import Tensor

from steerwright.vectors.direction import Direction, normalised


def mean_difference(positive: Float[Tensor, "n d"], negative: Float[Tensor, "m d"]) -> Direction:
    """Direction from the mean of `negative` [m, d] to the mean of `positive` [n, d]; its norm is their distance.

    The means are taken in float64. n and m may differ. Raises ValueError when the means coincide.

    Source: contrastive activation addition, arXiv:2312.06681; for images arXiv:2503.09630.
    """
    return normalised(positive.double().mean(0) - negative.double().mean(0))
