"""What an edit does to an activation x: each operator says by how much x changes at strength 1.

An edit is x' = x + strength * delta(x), so strength 0 is always the identity, and -1 the reverse of +1.
"""

from dataclasses import dataclass
from typing import Literal, assert_never, get_args

from torch import Tensor

from steerkit.vectors.direction import Direction

Units = Literal["unit", "raw", "relative", "seed000"]
UNITS: tuple[str, ...] = get_args(Units)


@dataclass(frozen=True, slots=True, eq=False)
class Add:
    """Move along a direction; `units` says how far strength 1 goes.

    `unit`: 1, in the activation's own units. `raw`: the distance of the two classes' means (the raw mean difference).
    `relative`: the token's own norm. `seed000`: half the raw mean difference, the definition of the published
    "winter" experiments, so that their epsilons mean the same here. Source: arXiv:2308.10248 (activation addition).
    """

    direction: Direction
    units: Units

    def delta(self, acts: Tensor) -> Tensor:
        unit, norm = self.direction.unit, self.direction.norm
        match self.units:
            case "unit":
                return unit.expand_as(acts)
            case "raw":
                return (norm[..., None] * unit).expand_as(acts)
            case "seed000":
                return (0.5 * norm[..., None] * unit).expand_as(acts)
            case "relative":
                return acts.norm(dim=-1, keepdim=True) * unit
            case _:
                assert_never(self.units)


@dataclass(frozen=True, slots=True, eq=False)
class ProjectOut:
    """Remove the component along a direction: strength 1 removes it, 2 reflects it (and keeps the norm).

    Only components on the direction's positive side are touched, unless `two_sided`. Source: arXiv:2503.09630, and
    arXiv:2406.11717 for the two-sided form.
    """

    direction: Direction
    two_sided: bool = False

    def delta(self, acts: Tensor) -> Tensor:
        return -_component(acts, self.direction, self.two_sided) * self.direction.unit


@dataclass(frozen=True, slots=True, eq=False)
class Switch:
    """Turn what lies on the positive side of `source` into as much of `target`. Source: arXiv:2503.09630."""

    source: Direction
    target: Direction

    def delta(self, acts: Tensor) -> Tensor:
        return _component(acts, self.source, two_sided=False) * (self.target.unit - self.source.unit)


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Multiply the component along a direction by `factor`; what is orthogonal to it stays."""

    direction: Direction
    factor: float

    def delta(self, acts: Tensor) -> Tensor:
        return (self.factor - 1) * _component(acts, self.direction, two_sided=True) * self.direction.unit


@dataclass(frozen=True, slots=True, eq=False)
class Replace:
    """Put other activations in place of these (patching): `values` [d], [tokens, d] or [images, tokens, d]."""

    values: Tensor

    def delta(self, acts: Tensor) -> Tensor:
        return self.values.to(acts.dtype) - acts


Operator = Add | ProjectOut | Switch | Scale | Replace


def shape_of(operator: Operator) -> tuple[int, ...]:
    """The shape, [d] or [tokens, d] or more, that an activation's last dimensions must have for `operator`."""
    match operator:
        case Add(direction=direction) | ProjectOut(direction=direction) | Scale(direction=direction):
            return tuple(direction.unit.shape)
        case Switch(source=source, target=target):
            return max(tuple(source.unit.shape), tuple(target.unit.shape), key=len)
        case Replace(values=values):
            return tuple(values.shape)
        case _:
            assert_never(operator)


def _component(acts: Tensor, direction: Direction, two_sided: bool) -> Tensor:
    along = (acts * direction.unit).sum(-1, keepdim=True)
    return along if two_sided else along.clamp(min=0)
