"""AuxK: dead latents learn from what the living leave over. Source: arXiv:2406.04093, appendix A.2.

The dead latents' k largest pre-activations of a row reconstruct the residual e = x - x^ (held fixed, and without the
decoder's bias, which x^ has already). Loss: weight * min(dead / k, 1) * |e^ - e|^2 / |e - mean e|^2, summed over rows.
A latent whose pre-activation is below 0 on every row learns nothing from it, as everywhere else.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from steerkit.sae.latent_gradients import DenseGradients
from steerkit.sae.weights import Weights

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

    def loss(self, weights: Weights, rows: Tensor, residual: Tensor) -> AuxLoss | None:
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
