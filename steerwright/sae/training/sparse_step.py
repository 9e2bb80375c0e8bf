"""A step over the selected latents alone: O(k d) for a row beside the encoder's product."""

from dataclasses import dataclass

import torch
from torch import Tensor

from steerwright.sae.architectures.architecture import Channels
from steerwright.sae.products import bag_sums, entry_products
from steerwright.sae.training.gradients import LatentGradients, StepOutcome, segment_sums
from steerwright.sae.training.losses import AuxK, Sparsity, reconstruction_loss
from steerwright.sae.training.selection import Selection
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
