"""When an edit acts: conditions on each token's activation."""

from dataclasses import dataclass

from torch import Tensor

from steerkit.vectors.direction import Direction


@dataclass(frozen=True, slots=True)
class Always:
    """On every token."""


@dataclass(frozen=True, slots=True, eq=False)
class WherePresent:
    """On tokens whose projection on `direction` exceeds `threshold`, in the activation's own units."""

    direction: Direction
    threshold: float = 0.0


Gate = Always | WherePresent


def gated(gate: Gate, acts: Tensor) -> Tensor | None:
    """Bool mask [..., tokens] of the tokens of `acts` [..., tokens, d] on which to act; None for all of them."""
    if isinstance(gate, Always):
        return None
    return (acts * gate.direction.unit).sum(-1) > gate.threshold
