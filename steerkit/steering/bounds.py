"""How far an edit may go: limits on each token's change."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Unbounded:
    """As far as the operator goes."""

    def limit(self, before: Tensor, after: Tensor) -> Tensor:  # noqa: ARG002
        return after


# What is left of a token when an edit takes all of it is rounding, of any direction: not to be blown up to full length.
_RESIDUE = 1e-6


@dataclass(frozen=True, slots=True)
class KeepNorm:
    """Give each token its norm from before the edit. A token of which rounding alone is left stays as it was.

    Source: arXiv:2503.09630, there without a guard at zero.
    """

    def limit(self, before: Tensor, after: Tensor) -> Tensor:
        was, length = before.norm(dim=-1, keepdim=True), after.norm(dim=-1, keepdim=True)
        vanished = length <= _RESIDUE * was
        ratio = was / length.masked_fill_(vanished, 1.0)
        return torch.where(vanished, before, after * ratio)


@dataclass(frozen=True, slots=True)
class Cap:
    """Shorten a token's change to at most `share` of the token's norm before the edit; its direction stays."""

    share: float

    def __post_init__(self) -> None:
        if not self.share > 0:
            raise ValueError(f"A cap of {self.share} of the token's norm would allow no edit; give more than 0.")

    def limit(self, before: Tensor, after: Tensor) -> Tensor:
        change = after - before
        length = change.norm(dim=-1, keepdim=True)
        allowed = self.share * before.norm(dim=-1, keepdim=True)
        shrunk = before + change * (allowed / length.clamp(min=torch.finfo(after.dtype).tiny))
        return torch.where(length > allowed, shrunk, after)


Bound = Unbounded | KeepNorm | Cap
