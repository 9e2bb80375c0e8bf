"""FVU of what the selected latents decode to, and its gradient, for each way of decoding.

A row's latents are decoded in one or more channels: one for most architectures; one per group for Matryoshka, whose
prefixes each have to reconstruct alone (arXiv:2503.17547); k and 4 k latents for MultiTopK (arXiv:2406.04093, A.3).
FVU of a batch: the squared error over the squared distance to the batch's mean, both summed over rows and dimensions.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Channels = Literal["one", "nested", "multi"]

MULTI_WEIGHT = 1 / 8


@dataclass(frozen=True, slots=True, eq=False)
class ReconstructionLoss:
    """`loss` and `fvu`, 0-dimensional (they differ where there is more than one channel).

    `gradient` [rows, channels, d] of the loss by what each channel decodes to; `bias_gradient` [d] by the decoder's
    bias; `residual` [rows, d]: x - x^.
    """

    loss: Tensor
    fvu: Tensor
    gradient: Tensor
    bias_gradient: Tensor
    residual: Tensor


def batch_variance(rows: Tensor) -> Tensor:
    """Squared distance of `rows` [rows, d] to their mean, summed; 0-dimensional.

    At least a millionth of their squared norm, so that a batch of equal rows, whose FVU has no meaning, stays finite.
    """
    energy = rows.square().sum()
    return torch.maximum(energy - rows.mean(0).square().sum() * len(rows), energy * 1e-6).clamp(min=1e-20)


def reconstruction_loss(decoded: Tensor, rows: Tensor, channels: Channels) -> ReconstructionLoss:
    """`decoded` [rows, channels, d] without the decoder's bias (overwritten); `rows` [rows, d] less that bias.

    For "nested" each channel is one group's own part; for "multi" the first is of k latents, the second of 4 k.
    """
    variance = batch_variance(rows)
    parts = range(decoded.shape[1])
    if channels == "nested":
        for part in parts[1:]:
            decoded[:, part] += decoded[:, part - 1]
    error = decoded.sub_(rows.unsqueeze(1))
    fvus = error.square().sum((0, 2)) / variance
    match channels:
        case "one":
            residual, fvu, loss = -error[:, 0], fvus[0], fvus[0]
            gradient = error.mul_(2 / variance)
            bias_gradient = gradient.sum((0, 1))
        case "multi":
            residual, fvu, loss = -error[:, 0], fvus[0], fvus[0] + fvus[1] * MULTI_WEIGHT
            gradient = error.mul_(2 / variance)
            gradient[:, 1] *= MULTI_WEIGHT
            bias_gradient = gradient.sum((0, 1))
        case "nested":
            residual, fvu, loss = -error[:, -1], fvus[-1], fvus.mean()
            gradient = error.mul_(2 / (variance * len(parts)))
            # A group's part is in every prefix from its own on.
            for part in reversed(parts[:-1]):
                gradient[:, part] += gradient[:, part + 1]
            bias_gradient = gradient[:, 0].sum(0)
    return ReconstructionLoss(loss, fvu, gradient, bias_gradient, residual)
