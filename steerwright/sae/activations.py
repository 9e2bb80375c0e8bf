"""How pre-activations become latents: which latents of a row are active, and with which value.

A new activation is a subclass of `Activation`, a frozen dataclass, and a line in `ACTIVATIONS`: files keep its fields.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from steerwright.sae.products import largest


class Activation(ABC):
    """An activation. Its tensors [n] are kept with the weights, its other fields in config.json under `kind`."""

    __slots__ = ()
    kind: ClassVar[str]
    by_decoder_norm: Any = False
    """Whether it chooses by the norms of the decoder's rows."""

    @abstractmethod
    def active(self, pre: Tensor, decoder_norms: Tensor | None) -> tuple[Tensor, Tensor]:
        """Indices and values [rows, places] of the active latents of pre-activations [rows, n], the most active first.

        Index -1 with value 0 is an unused place. `decoder_norms` [n] where `by_decoder_norm`.
        """

    @classmethod
    def tensor_names(cls) -> list[str]:
        """Its fields that are tensors [n]."""
        return [field.name for field in fields(cls) if field.type is Tensor]  # type: ignore[arg-type]

    @classmethod
    def setting_names(cls) -> list[str]:
        """Its other fields."""
        return [field.name for field in fields(cls) if field.type is not Tensor]  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, eq=False)
class Relu(Activation):
    """Every positive pre-activation is a latent."""

    kind = "relu"

    def active(self, pre: Tensor, decoder_norms: Tensor | None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return all_active(pre.relu())


@dataclass(frozen=True, slots=True, eq=False)
class TopK(Activation):
    """The k largest of a row. `relu` says whether negatives are cut off before or after choosing; it is the same
    unless a row has fewer than k positive values, where neither gives an active latent of value 0.

    `by_decoder_norm`: pre-activations are multiplied by the decoder rows' norms to choose, and divided again after.
    """

    kind = "topk"
    k: int
    relu: Literal["before", "after"] = "before"
    by_decoder_norm: bool = False

    def active(self, pre: Tensor, decoder_norms: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self.by_decoder_norm:
            # Which of equal values torch.topk takes depends on the whole row, so that is as the libraries have it.
            values, indices = largest(pre.relu_() if self.relu == "before" else pre, self.k)
            return _used(indices, values.relu())
        assert decoder_norms is not None
        _, indices = largest(pre * decoder_norms, self.k)
        return _sorted(indices, pre.gather(1, indices).relu())


@dataclass(frozen=True, slots=True, eq=False)
class AbsTopK(Activation):
    """The k largest by absolute value, keeping their sign."""

    kind = "abstopk"
    k: int

    def active(self, pre: Tensor, decoder_norms: Tensor | None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        _, indices = largest(pre.abs(), self.k)
        return _used(indices, pre.gather(1, indices))


@dataclass(frozen=True, slots=True, eq=False)
class GroupMax(Activation):
    """The largest of each of k contiguous groups of latents."""

    kind = "groupmax"
    k: int

    def active(self, pre: Tensor, decoder_norms: Tensor | None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        values, within = pre.unflatten(1, (self.k, -1)).max(2)
        first = torch.arange(self.k, device=pre.device) * (pre.shape[1] // self.k)
        return _sorted(first + within, values.relu())


@dataclass(frozen=True, slots=True, eq=False)
class JumpRelu(Activation):
    """Pre-activations above their latent's threshold [n] (and above 0). arXiv:2407.14435.

    Also what a BatchTopK autoencoder (arXiv:2412.06410) does at inference, with one threshold for all latents.
    """

    kind = "jumprelu"
    threshold: Tensor

    def active(self, pre: Tensor, decoder_norms: Tensor | None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return all_active(torch.where(pre > self.threshold.to(pre), pre, 0.0).relu())


@dataclass(frozen=True, slots=True, eq=False)
class Gated(Activation):
    """A gate (x W + gate_bias > 0) times a magnitude relu(exp(r_mag) * x W + mag_bias), each [n]. arXiv:2404.16014."""

    kind = "gated"
    gate_bias: Tensor
    mag_bias: Tensor
    r_mag: Tensor

    def active(self, pre: Tensor, decoder_norms: Tensor | None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        magnitude = pre * self.r_mag.to(pre).exp() + self.mag_bias.to(pre)
        return all_active(torch.where(pre + self.gate_bias.to(pre) > 0, magnitude, 0.0).relu())


ACTIVATIONS: dict[str, type[Activation]] = {
    known.kind: known for known in (Relu, TopK, AbsTopK, GroupMax, JumpRelu, Gated)
}
"""By the kind that config.json names."""


def all_active(latents: Tensor) -> tuple[Tensor, Tensor]:
    """The non-zero ones of dense, non-negative latents [rows, n]: as many places as the fullest row has."""
    # By their places rather than by a topk over the row: of a thousand latents some sixteen are active.
    rows, size = latents.shape
    at = (latents > 0).flatten().nonzero().squeeze(1)
    row = at // size
    count = torch.bincount(row, minlength=rows)
    places = int(count.max())
    slot = row * places + torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    values = latents.new_zeros(rows * places)
    values[slot] = latents.flatten()[at]
    indices = torch.full((rows * places,), -1, device=row.device)
    indices[slot] = at - row * size
    return _sorted(indices.reshape(rows, places), values.reshape(rows, places))


def _sorted(indices: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    values, order = values.sort(dim=1, descending=True, stable=True)
    return _used(indices.gather(1, order), values)


def _used(indices: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Latents of value 0 are not active, wherever a choice of k had to take them."""
    return torch.where(values != 0, indices, -1), values
