"""A step over all latents, a piece of rows at a time: for ReLU and JumpReLU, while many of a row's are active."""

from dataclasses import dataclass

import torch
from torch import Tensor

from steerwright.sae.training.gradients import StepOutcome
from steerwright.sae.training.losses import AuxK, Sparsity, batch_variance
from steerwright.sae.training.selection import PreActivations
from steerwright.sae.training.weights import SaeWeights


@dataclass(frozen=True, slots=True, eq=False)
class WholeGradients:
    """Gradients of the encoder and the decoder [n, d], and of the encoder's bias [n]."""

    encoder: Tensor
    decoder: Tensor
    encoder_bias: Tensor

    def piece(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Those of latents start up to stop."""
        return self.encoder[start:stop], self.decoder[start:stop]


def dense_step(
    weights: SaeWeights, rows: Tensor, pre_activations: PreActivations, sparsity: Sparsity, aux: AuxK
) -> StepOutcome:
    """`rows` [rows, d] less the decoder's bias. The same as `sparse_step` with every latent selected that is active."""
    decoder = weights.decoder.parameter
    count, width = rows.shape
    variance = batch_variance(rows)
    gradients = WholeGradients(
        torch.zeros_like(weights.encoder.parameter),
        torch.zeros_like(decoder),
        torch.zeros_like(weights.encoder_bias.parameter),
    )
    bias_gradient = torch.zeros_like(weights.decoder_bias.parameter)
    threshold = torch.zeros_like(gradients.encoder_bias) if sparsity.threshold is not None else None
    fired = torch.zeros(len(decoder), dtype=torch.bool, device=rows.device)
    residual = torch.empty_like(rows)
    squared, penalty, active = variance.new_zeros(()), variance.new_zeros(()), torch.zeros_like(fired.sum())
    least = variance.new_full((), torch.inf)
    for start, stop in pre_activations.pieces():
        pre, x = pre_activations.make(start, stop).float(), rows[start:stop]
        values = sparsity.activate(pre)
        error = values @ decoder - x
        torch.neg(error, out=residual[start:stop])
        squared += error.square().sum()
        error *= 2 / variance
        value_gradient = error @ decoder.T
        positive = values > 0
        if threshold is not None:
            threshold += sparsity.threshold_gradient(pre, None, value_gradient, count).sum(0)
        pre_gradient = value_gradient.add_(sparsity.value_gradient(count, width)).mul_(positive)
        gradients.decoder.addmm_(values.T, error)
        gradients.encoder.addmm_(pre_gradient.T, x)
        gradients.encoder_bias.add_(pre_gradient.sum(0))
        bias_gradient += error.sum(0)
        fired |= positive.any(0)
        active += positive.sum()
        penalty += sparsity.penalty(values, count, width)
        least = torch.minimum(least, torch.where(positive, values, torch.inf).min())
    fvu = squared / variance
    extra = aux.loss(weights, rows, residual)
    if extra is not None:
        gradients.encoder[aux.dead] += extra.gradients.encoder
        gradients.decoder[aux.dead] += extra.gradients.decoder
        gradients.encoder_bias[aux.dead] += extra.gradients.encoder_bias
    fvu = squared / variance
    measures = {"fvu": fvu, "l0": active / count} | sparsity.named(penalty) | aux.measures(extra, fvu + penalty)
    return StepOutcome(gradients, bias_gradient, threshold, fired, measures, least)
