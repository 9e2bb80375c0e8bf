"""A step over the selected latents alone: O(k d) for a row beside the encoder's product."""

from dataclasses import dataclass

import torch
from torch import Tensor

from steerwright.sae.architectures.architecture import Channels
from steerwright.sae.products import bag_sums, entry_products
from steerwright.sae.training.gradients import LatentGradients, StepOutcome, segment_sums
from steerwright.sae.training.losses import AuxK, Sparsity, batch_variance, reconstruction_loss
from steerwright.sae.training.selection import PreActivations, Selection
from steerwright.sae.training.weights import SaeWeights


@dataclass(frozen=True, slots=True, eq=False)
class Decoding:
    """How selected latents are decoded: in which channels, and what those need to know.

    `group_ends` int64 [groups] for "nested"; `k` for "multi", whose selection has every row's 4 k largest in order.
    """

    channels: Channels
    group_ends: Tensor
    k: int

    @property
    def number(self) -> int:
        """Channels of a row."""
        return {"one": 1, "multi": 2, "nested": len(self.group_ends)}[self.channels]

    def bags(self, selection: Selection, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Bag (row * channels + channel), latent and pre-activation of every entry, in order of bags."""
        row, latent, pre = selection.row, selection.latent, selection.pre
        match self.channels:
            case "one":
                return row, latent, pre
            case "nested":
                group = torch.searchsorted(self.group_ends, latent, right=True)
                bag, order = (row * self.number + group).sort(stable=True)
                return bag, latent[order], pre[order]
            case "multi":
                latent, pre = latent.view(rows, -1), pre.view(rows, -1)
                latent, pre = (torch.cat([x[:, : self.k], x], 1).flatten() for x in (latent, pre))
                channel = (torch.arange(5 * self.k, device=row.device) >= self.k).long()
                return (2 * torch.arange(rows, device=row.device).unsqueeze(1) + channel).flatten(), latent, pre


def sparse_step(
    weights: SaeWeights, rows: Tensor, selection: Selection, decoding: Decoding, sparsity: Sparsity, aux: AuxK
) -> StepOutcome:
    """Losses of `rows` [rows, d], which are less the decoder's bias, and their gradients."""
    decoder = weights.decoder.parameter
    size, width = decoder.shape
    count = len(rows)
    bag, latent, pre = decoding.bags(selection, count)
    value = sparsity.activate(pre, latent)
    ends = torch.searchsorted(bag, torch.arange(count * decoding.number + 1, device=rows.device))
    decoded = bag_sums(decoder, latent, value, ends).view(count, decoding.number, width)
    found = reconstruction_loss(decoded, rows, decoding.channels)
    by_bag = found.gradient.view(-1, width)
    value_gradient = entry_products(by_bag, decoder, bag, latent, ends)
    active = value > 0
    extra = aux.loss(weights, rows, found.residual)
    gradients = LatentGradients(
        size,
        latent=latent,
        bag=bag,
        value=value,
        pre_gradient=torch.where(active, value_gradient + sparsity.value_gradient(count, width), 0.0),
        bags=by_bag,
        rows=rows,
        channels=decoding.number,
        more=None if extra is None else extra.gradients,
    )
    if decoding.channels == "multi":
        # The first channel is the autoencoder; what the 4 k largest add to it is a loss alone.
        active &= bag % 2 == 0
    fired = torch.zeros(size + 1, dtype=torch.bool, device=rows.device)
    fired.scatter_(0, torch.where(active, latent, size), True)
    penalty = sparsity.penalty(value, count, width)
    measures = {"fvu": found.fvu, "l0": active.sum() / count} | sparsity.named(penalty)
    return StepOutcome(
        gradients,
        found.bias_gradient,
        _threshold_gradient(sparsity, pre, latent, value_gradient, count, size),
        fired[:size],
        measures | aux.measures(extra, found.loss + penalty),
        torch.where(active, value, torch.inf).min() if len(value) else found.loss.new_full((), torch.inf),
    )


def _threshold_gradient(
    sparsity: Sparsity, pre: Tensor, latent: Tensor, value_gradient: Tensor, rows: int, size: int
) -> Tensor | None:
    """Gradient [size] of the thresholds; None where there are none."""
    if sparsity.threshold is None:
        return None
    latent, order = latent.sort(stable=True)
    ends = torch.searchsorted(latent, torch.arange(size + 1, device=latent.device))
    return segment_sums(sparsity.threshold_gradient(pre[order], latent, value_gradient[order], rows), ends)


# A step over all latents, a piece of rows at a time: for ReLU and JumpReLU, while many of a row's are active.


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
