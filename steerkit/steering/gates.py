"""When an edit acts: conditions on each token's activation."""

from dataclasses import dataclass

from torch import Tensor

from steerkit.steering.operators import check_origin
from steerkit.vectors.direction import Direction


@dataclass(frozen=True, slots=True)
class Always:
    """On every token."""


@dataclass(frozen=True, slots=True, eq=False)
class WherePresent:
    """On tokens whose projection on `direction` exceeds `threshold`, in the activation's own units.

    `centred`: the threshold counts in units of the concept: 0 where the mean of the prompts without it lies, 1 where
    that of the prompts with it does. Raises UserError when the direction does not record where that is.
    """

    direction: Direction
    threshold: float = 0.0
    centred: bool = False

    def __post_init__(self) -> None:
        if self.centred:
            check_origin(self.direction)


Gate = Always | WherePresent


def gated(gate: Gate, acts: Tensor) -> Tensor | None:
    """Bool mask [..., tokens] of the tokens of `acts` [..., tokens, d] on which to act; None for all of them."""
    if isinstance(gate, Always):
        return None
    unit = gate.direction.unit
    along = acts @ unit if unit.ndim == 1 else (acts * unit).sum(-1)
    if not gate.centred:
        return along > gate.threshold
    assert gate.direction.origin is not None, "checked when the gate was made"
    return along > gate.direction.origin + gate.threshold * gate.direction.norm
