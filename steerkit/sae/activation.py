"""How pre-activations become latents: which latents of a row are active, and with which value."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Relu:
    """Every positive pre-activation is a latent."""


@dataclass(frozen=True, slots=True, eq=False)
class TopK:
    """The k largest of a row. `relu` says whether negatives are cut off before or after choosing; it is the same
    unless a row has fewer than k positive values, where neither gives an active latent of value 0.

    `by_decoder_norm`: pre-activations are multiplied by the decoder rows' norms to choose, and divided again after.
    """

    k: int
    relu: Literal["before", "after"] = "before"
    by_decoder_norm: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class AbsTopK:
    """The k largest by absolute value, keeping their sign."""

    k: int


@dataclass(frozen=True, slots=True, eq=False)
class GroupMax:
    """The largest of each of k contiguous groups of latents."""

    k: int


@dataclass(frozen=True, slots=True, eq=False)
class JumpRelu:
    """Pre-activations above their latent's threshold [n] (and above 0). arXiv:2407.14435.

    Also what a BatchTopK autoencoder (arXiv:2412.06410) does at inference, with one threshold for all latents.
    """

    threshold: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Gated:
    """A gate (x W + gate_bias > 0) times a magnitude relu(exp(r_mag) * x W + mag_bias), each [n]. arXiv:2404.16014."""

    gate_bias: Tensor
    mag_bias: Tensor
    r_mag: Tensor


Activation = Relu | TopK | AbsTopK | GroupMax | JumpRelu | Gated
