"""Gradients of the encoder and the decoder, from the selected latents alone, a piece of latents at a time.

Selected entries are put in order of latents once; both gradients are then sums of bags, one bag for each latent: of the
reconstruction's gradients, weighted by the latent's values, for its decoder row, and of the rows, weighted by the
gradients of its pre-activations, for its encoder row. Latents that were not selected cost nothing but their zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from steerwright.sae.products import bag_sums
from steerwright.sae.training.weights import Gradients


@dataclass(frozen=True, slots=True, eq=False)
class DenseGradients:
    """Gradients of the encoder and decoder rows [m, d] of latents `index` int64 [m], in order; the rest is zero."""

    index: Tensor
    encoder: Tensor
    decoder: Tensor
    encoder_bias: Tensor


class LatentGradients:
    """Gradients of one step.

    Entries: `latent` and `bag` int64, `value` and `pre_gradient` (of the loss by the pre-activation), all [entries].
    `bags` [bags, d] are the gradients of what each bag decodes to; `channels` bags belong to a row. `rows` [rows, d]:
    what the encoder was given. `more`: gradients that come on top, such as those of AuxK.
    """

    def __init__(
        self,
        size: int,
        *,
        latent: Tensor,
        bag: Tensor,
        value: Tensor,
        pre_gradient: Tensor,
        bags: Tensor,
        rows: Tensor,
        channels: int,
        more: DenseGradients | None,
    ) -> None:
        latent, order = latent.sort(stable=True)
        self._ends = torch.searchsorted(latent, torch.arange(size + 1, device=latent.device))
        self._bag = bag[order]
        self._row = self._bag if channels == 1 else self._bag // channels
        self._value, self._pre_gradient = value[order], pre_gradient[order]
        self._bags, self._rows = bags, rows
        self._more = more
        self.encoder_bias = segment_sums(self._pre_gradient, self._ends)
        """Gradient [n] of the encoder's bias: the sum of a latent's pre-activations' gradients."""
        if more is not None:
            self.encoder_bias[more.index] += more.encoder_bias

    def piece(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Gradients [stop - start, d] of the encoder's and of the decoder's rows of these latents."""
        if start == 0 and stop == len(self.encoder_bias):
            first, last, ends = 0, len(self._bag), self._ends
        else:
            first, last = int(self._ends[start]), int(self._ends[stop])
            ends = self._ends[start : stop + 1] - first
        encoder = bag_sums(self._rows, self._row[first:last], self._pre_gradient[first:last], ends)
        decoder = bag_sums(self._bags, self._bag[first:last], self._value[first:last], ends)
        if self._more is not None:
            self._add(self._more, start, stop, encoder, decoder)
        return encoder, decoder

    def _add(self, more: DenseGradients, start: int, stop: int, encoder: Tensor, decoder: Tensor) -> None:
        first, last = 0, len(more.index)
        if stop - start < len(self.encoder_bias):
            bounds = torch.tensor([start, stop], device=more.index.device)
            first, last = torch.searchsorted(more.index, bounds).tolist()
        index = more.index[first:last] - start
        encoder[index] += more.encoder[first:last]
        decoder[index] += more.decoder[first:last]


def segment_sums(values: Tensor, ends: Tensor) -> Tensor:
    """Sums [segments] of `values` [entries] from ends[i] up to ends[i + 1], in order and so the same at every run."""
    every = torch.arange(len(values), device=values.device)
    return bag_sums(values.unsqueeze(1), every, torch.ones_like(values), ends).squeeze(1)


# What a step of training found out, before the weights move.


@dataclass(frozen=True, slots=True, eq=False)
class StepOutcome:
    """`gradients` of encoder and decoder, `decoder_bias` [d] by the reconstruction, `threshold` [n] where learned.

    `fired` bool [n]: latents above 0 in some row. `measures`: 0-dimensional tensors on the device. `least`: the
    smallest value above 0 of all the batch's latents, infinite if there is none.
    """

    gradients: Gradients
    decoder_bias: Tensor
    threshold: Tensor | None
    fired: Tensor
    measures: dict[str, Tensor]
    least: Tensor
