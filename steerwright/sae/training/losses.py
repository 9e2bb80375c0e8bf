"""FVU of what the selected latents decode to, and its gradient, for each way of decoding.

A row's latents are decoded in one or more channels: one for most architectures; one per group for Matryoshka, whose
prefixes each have to reconstruct alone (arXiv:2503.17547); k and 4 k latents for MultiTopK (arXiv:2406.04093, A.3).
FVU of a batch: the squared error over the squared distance to the batch's mean, both summed over rows and dimensions.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from steerwright.sae.architectures.architecture import Channels
from steerwright.sae.training.gradients import DenseGradients
from steerwright.sae.training.weights import SaeWeights

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


# AuxK: dead latents learn from what the living leave over. Source: arXiv:2406.04093, appendix A.2.
#
# The dead latents' k largest pre-activations of a row reconstruct the residual e = x - x^ (held fixed, and without the
# decoder's bias, which x^ has already). Loss: weight * min(dead / k, 1) * |e^ - e|^2 / |e - mean e|^2, summed over
# rows. A latent whose pre-activation is below 0 on every row learns nothing from it, as everywhere else.

ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class AuxLoss:
    """The loss, weighted, 0-dimensional, and what it gives to the dead latents."""

    loss: Tensor
    gradients: DenseGradients


@dataclass(frozen=True, slots=True, eq=False)
class AuxK:
    """`dead`: indices int64 [m], in order; `k` of them are used by a row; `weight` of the loss beside FVU."""

    dead: Tensor
    k: int
    weight: float

    def measures(self, found: AuxLoss | None, loss: Tensor) -> dict[str, Tensor]:
        """The loss with AuxK's part, and that part, unless it is switched off."""
        if not self.weight:
            return {"loss": loss}
        part = torch.zeros_like(loss) if found is None else found.loss
        return {"loss": loss + part, "auxk": part}

    def loss(self, weights: SaeWeights, rows: Tensor, residual: Tensor) -> AuxLoss | None:
        """`rows` [rows, d] as the encoder is given them, their `residual` [rows, d]. None where nothing is dead.

        The products are dense over the dead latents: with as many latents of a row as AuxK takes (half of d), sums of
        single rows would be slower until half of all latents are dead.
        """
        if not self.weight or not len(self.dead):
            return None
        dead = self.dead
        encoder, decoder = weights.encoder.parameter[dead], weights.decoder.parameter[dead]
        encoder_bias = weights.encoder_bias.parameter[dead]
        energy = (residual - residual.mean(0)).square().sum()
        # Where nothing is left over there is nothing to learn; 0 / 0 must not reach the weights.
        factor = torch.where(energy > 0, self.weight * min(len(dead) / self.k, 1.0) / energy, 0.0)
        gradients = DenseGradients(
            dead, torch.zeros_like(encoder), torch.zeros_like(decoder), torch.zeros_like(encoder_bias)
        )
        squared = energy.new_zeros(())
        for x, e in zip(rows.split(ROWS_AT_ONCE), residual.split(ROWS_AT_ONCE), strict=True):
            latents = torch.addmm(encoder_bias, x, encoder.T).relu_()
            if self.k < len(dead):
                values, indices = latents.topk(self.k, dim=1, sorted=False)
                latents = latents.zero_().scatter_(1, indices, values)
            error = latents @ decoder - e
            squared += error.square().sum()
            error *= 2 * factor
            gradients.decoder.addmm_(latents.T, error)
            pre_gradient = (error @ decoder.T).mul_(latents > 0)
            gradients.encoder.addmm_(pre_gradient.T, x)
            gradients.encoder_bias.add_(pre_gradient.sum(0))
        return AuxLoss(squared * factor, gradients)


# What keeps latents few, beside a choice of k: L1 of ReLU's latents, or JumpReLU's thresholds and its L0.
#
# The losses are beside FVU: l1 * sum of z / sqrt(d), and l0 * number of latents above 0, both as means over rows.
# JumpReLU, z = p where p > threshold, else 0, has no gradient by its threshold; a window of width e around it stands in
# (arXiv:2407.14435, section 3): dz/dthreshold = -threshold/e, dL0/dthreshold = -1/e where |p - threshold| < e/2.


@dataclass(frozen=True, slots=True, eq=False)
class Sparsity:
    """`threshold` [n] for JumpReLU alone; `l1` and `l0` as they are weighted at this step of training.

    `name`: of the penalty among the measures; None where a choice of k needs no penalty.
    """

    name: Literal["l1_penalty", "l0_penalty"] | None = None
    threshold: Tensor | None = None
    bandwidth: float = 1.0
    l1: float = 0.0
    l0: float = 0.0

    @property
    def floor(self) -> Tensor | float:
        """Below this [n] a pre-activation neither is a latent nor moves a threshold."""
        return 0.0 if self.threshold is None else (self.threshold - self.bandwidth / 2).clamp(min=0)

    def activate(self, pre: Tensor, latent: Tensor | None = None) -> Tensor:
        """Values of pre-activations: of the given latents [entries], or of all [rows, n]."""
        values = pre.relu()
        return values if self.threshold is None else values * (pre > self._thresholds(latent))

    def value_gradient(self, rows: int, width: int) -> float:
        """Gradient of the penalty by the value of an active latent."""
        return float(self.l1 / (rows * width**0.5))

    def penalty(self, values: Tensor, rows: int, width: int) -> Tensor:
        """The penalty, 0-dimensional, for values of all latents of `rows` rows of that width."""
        if self.threshold is not None:
            return (values > 0).sum() * (self.l0 / rows)
        return values.sum() * (self.l1 / (rows * width**0.5))

    def threshold_gradient(self, pre: Tensor, latent: Tensor | None, value_gradient: Tensor, rows: int) -> Tensor:
        """What each of `pre` gives to its threshold's gradient; `value_gradient`: of the other losses."""
        thresholds = self._thresholds(latent)
        inside = ((pre - thresholds).abs() < self.bandwidth / 2) & (pre > 0)
        return inside * (thresholds * value_gradient + self.l0 / rows) * (-1 / self.bandwidth)

    def named(self, penalty: Tensor) -> dict[str, Tensor]:
        """The penalty under its name, if it has one."""
        return {} if self.name is None else {self.name: penalty}

    def _thresholds(self, latent: Tensor | None) -> Tensor:
        assert self.threshold is not None
        return self.threshold if latent is None else self.threshold[latent]
