"""What a step of training found out, before the weights move."""

from dataclasses import dataclass

from torch import Tensor

from steerkit.sae.weights import Gradients


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
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
