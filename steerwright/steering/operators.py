"""What an edit does to an activation x: each operator says by how much x changes at strength 1.

An edit is x' = x + strength * delta(x), so strength 0 is always the identity, and -1 the reverse of +1. delta(x) is
given as amount * along: a number for each token and a vector for all of them where that will do, so that the vector is
not written out for every token.

Published removals measure a token's component from zero. But activations are not centred: a token without the concept
may have a component of any size. `centred` measures it from where the negative class's mean lies instead, so that
strength 1 brings a token to where tokens without the concept are, and leaves those alone.
"""

from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.steering.latents.operators import EditLatents, ReplacePatches, SaeuronEdit
from steerwright.vectors.direction import Direction

Delta = tuple[Tensor, Tensor]
"""Amount [..., tokens, 1] or [1] and vector [..., tokens, d] or [d], whose product is the change at strength 1."""

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

    def delta(self, acts: Tensor) -> Delta:
        unit, norm = self.direction.unit, self.direction.norm
        match self.units:
            case "unit":
                return torch.ones_like(norm)[..., None], unit
            case "raw":
                return norm[..., None], unit
            case "seed000":
                return 0.5 * norm[..., None], unit
            case "relative":
                return acts.norm(dim=-1, keepdim=True), unit
            case _:
                assert_never(self.units)


@dataclass(frozen=True, slots=True, eq=False)
class ProjectOut:
    """Remove the component along a direction: strength 1 removes it, 2 reflects it (and keeps the norm).

    Only components on the direction's positive side are touched, unless `two_sided`. `along`: move as far along this
    direction instead, a control that touches the same tokens by the same amounts. Source: arXiv:2503.09630, and
    arXiv:2406.11717 for the two-sided form.
    """

    direction: Direction
    two_sided: bool = False
    centred: bool = False
    along: Direction | None = None

    def __post_init__(self) -> None:
        if self.centred:
            check_origin(self.direction)
        _check_alike(self.direction, self.along)

    def delta(self, acts: Tensor) -> Delta:
        along = self.direction if self.along is None else self.along
        return _component(acts, self.direction, self.two_sided, self.centred).neg_(), along.unit


@dataclass(frozen=True, slots=True, eq=False)
class Switch:
    """Turn what lies on the positive side of `source` into as much of `target`. Source: arXiv:2503.09630.

    `proportional`: as much in units of the concepts themselves, that is norm of target / norm of source times as far.
    `along`: move as far along this direction instead, a control that touches the same tokens by the same amounts.
    """

    source: Direction
    target: Direction
    centred: bool = False
    proportional: bool = False
    along: Direction | None = None

    def __post_init__(self) -> None:
        if self.centred:
            check_origin(self.source)
        _check_alike(self.source, self.along)

    def delta(self, acts: Tensor) -> Delta:
        far = torch.ones_like(self.source.norm)
        if self.proportional:
            far = torch.where(self.source.norm > 0, self.target.norm / self.source.norm, 0.0)
        along = far[..., None] * self.target.unit - self.source.unit
        if self.along is not None:
            along = along.norm(dim=-1, keepdim=True) * self.along.unit
        return _component(acts, self.source, two_sided=False, centred=self.centred), along


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Multiply the component along a direction by `factor`; what is orthogonal to it stays."""

    direction: Direction
    factor: float

    def delta(self, acts: Tensor) -> Delta:
        return (self.factor - 1) * _component(acts, self.direction, two_sided=True), self.direction.unit


@dataclass(frozen=True, slots=True, eq=False)
class Replace:
    """Put other activations in place of these (patching): `values` [d], [tokens, d] or [images, tokens, d]."""

    values: Tensor

    def delta(self, acts: Tensor) -> Delta:
        return acts.new_ones(1), self.values.to(acts.dtype) - acts


Operator = Add | ProjectOut | Switch | Scale | Replace | EditLatents | SaeuronEdit | ReplacePatches


def shape_of(operator: Operator) -> tuple[int, ...]:
    """The shape, [d] or [tokens, d] or more, that an activation's last dimensions must have for `operator`."""
    match operator:
        case Add(direction=direction) | ProjectOut(direction=direction) | Scale(direction=direction):
            return tuple(direction.unit.shape)
        case Switch(source=source, target=target):
            return max(tuple(source.unit.shape), tuple(target.unit.shape), key=len)
        case Replace(values=values):
            return tuple(values.shape)
        case EditLatents(sae=sae) | SaeuronEdit(sae=sae) | ReplacePatches(sae=sae):
            return (sae.width,)
        case _:
            assert_never(operator)


def _component(acts: Tensor, direction: Direction, two_sided: bool, centred: bool = False) -> Tensor:
    """Component of each token along `direction`, [..., tokens, 1], in memory of its own."""
    unit = direction.unit
    along = (acts @ unit)[..., None] if unit.ndim == 1 else (acts * unit).sum(-1, keepdim=True)
    if centred:
        assert direction.origin is not None, "checked when the operator was made"
        along = along - direction.origin[..., None]
    return along if two_sided else along.clamp_(min=0)


def check_origin(direction: Direction) -> None:
    """Raise UserError unless `direction` records where prompts without the concept lie."""
    if direction.origin is None:
        raise UserError(
            "A centred edit measures from the mean of the prompts without the concept, which these vectors do not "
            "record (imported ones never do). Fit them anew, or use an edit that is not centred."
        )


def _check_alike(direction: Direction, along: Direction | None) -> None:
    if along is not None and along.unit.shape != direction.unit.shape:
        raise UserError(
            f"The control's direction is {list(along.unit.shape)} where the edit's is {list(direction.unit.shape)}; "
            "make it with `random_like` of the same vectors."
        )
