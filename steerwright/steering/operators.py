"""What an edit does to an activation x: each operator says by how much x changes at strength 1.

An edit is x' = x + strength * delta(x), so strength 0 is always the identity, and -1 the reverse of +1. delta(x) is
given as amount * along: a number for each token and a vector for all of them where that will do, so that the vector is
not written out for every token.

Published removals measure a token's component from zero. But activations are not centred: a token without the concept
may have a component of any size. `centred` measures it from where the negative class's mean lies instead, so that
strength 1 brings a token to where tokens without the concept are, and leaves those alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, assert_never, get_args

import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.vectors.direction import Direction

if TYPE_CHECKING:
    from steerwright.steering.gates import Gate

Delta = tuple[Tensor, Tensor]
"""Amount [..., tokens, 1] or [1] and vector [..., tokens, d] or [d], whose product is the change at strength 1."""

Units = Literal["unit", "raw", "relative", "half_raw"]
UNITS: tuple[str, ...] = get_args(Units)


class Operator(ABC):
    """What an edit does to an activation; a new one is a subclass, as a frozen dataclass, with `shape` and `delta`.

    Tensors in its fields follow the model from device to device by themselves.
    """

    __slots__ = ()
    pictures_only: ClassVar[bool] = False
    """Made for the tokens of a picture; a language model refuses it."""
    reads_uncond: ClassVar[bool] = False
    """`delta_among` needs the unconditional branch's tokens, so branches are edited apart."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape, [d] or [tokens, d] or more, that an activation's last dimensions must have."""

    @abstractmethod
    def delta(self, acts: Tensor) -> Delta:
        """Change of `acts` [..., tokens, d], float32 or wider, at strength 1."""

    def delta_among(self, acts: Tensor, held: Sequence[Tensor | None], uncond: Tensor | None) -> Delta:  # noqa: ARG002
        """`delta` for an operator that looks around: see `gates` for `held`, `reads_uncond` for `uncond`."""
        return self.delta(acts)

    @property
    def gates(self) -> Sequence[Gate | None]:
        """Gates of its own parts; `delta_among` is told for each by image [images] where it holds, None if by token."""
        return ()

    @property
    def images(self) -> int | None:
        """For how many images its values are given one by one; None where they are the same for all."""
        return None

    def for_images(self, start: int, stop: int) -> Operator:  # noqa: ARG002
        """The operator of images `start` to `stop`."""
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Add(Operator):
    """Move along a direction; `units` says how far strength 1 goes.

    `unit`: 1, in the activation's own units. `raw`: the distance of the two classes' means (the raw mean difference).
    `relative`: the token's own norm. `half_raw`: half the raw mean difference, the definition of the published
    "winter" experiments, so that their epsilons mean the same here. Source: arXiv:2308.10248 (activation addition).
    """

    direction: Direction
    units: Units

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.direction.unit.shape)

    def delta(self, acts: Tensor) -> Delta:
        unit, norm = self.direction.unit, self.direction.norm
        match self.units:
            case "unit":
                return torch.ones_like(norm)[..., None], unit
            case "raw":
                return norm[..., None], unit
            case "half_raw":
                return 0.5 * norm[..., None], unit
            case "relative":
                return acts.norm(dim=-1, keepdim=True), unit
            case _:
                assert_never(self.units)


@dataclass(frozen=True, slots=True, eq=False)
class ProjectOut(Operator):
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

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.direction.unit.shape)

    def delta(self, acts: Tensor) -> Delta:
        along = self.direction if self.along is None else self.along
        return _component(acts, self.direction, self.two_sided, self.centred).neg_(), along.unit


@dataclass(frozen=True, slots=True, eq=False)
class Switch(Operator):
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

    @property
    def shape(self) -> tuple[int, ...]:
        return max(tuple(self.source.unit.shape), tuple(self.target.unit.shape), key=len)

    def delta(self, acts: Tensor) -> Delta:
        far = torch.ones_like(self.source.norm)
        if self.proportional:
            far = torch.where(self.source.norm > 0, self.target.norm / self.source.norm, 0.0)
        along = far[..., None] * self.target.unit - self.source.unit
        if self.along is not None:
            along = along.norm(dim=-1, keepdim=True) * self.along.unit
        return _component(acts, self.source, two_sided=False, centred=self.centred), along


@dataclass(frozen=True, slots=True, eq=False)
class Scale(Operator):
    """Multiply the component along a direction by `factor`; what is orthogonal to it stays."""

    direction: Direction
    factor: float

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.direction.unit.shape)

    def delta(self, acts: Tensor) -> Delta:
        return (self.factor - 1) * _component(acts, self.direction, two_sided=True), self.direction.unit


@dataclass(frozen=True, slots=True, eq=False)
class Replace(Operator):
    """Put other activations in place of these (patching): `values` [d], [tokens, d] or [images, tokens, d]."""

    values: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def delta(self, acts: Tensor) -> Delta:
        return acts.new_ones(1), self.values.to(acts.dtype) - acts

    @property
    def images(self) -> int | None:
        return len(self.values) if self.values.ndim == 3 else None

    def for_images(self, start: int, stop: int) -> Replace:
        return self if self.images is None else Replace(self.values[start:stop])


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
            "record (imported ones never do). Fit them again, or use an edit that is not centred."
        )


def _check_alike(direction: Direction, along: Direction | None) -> None:
    if along is not None and along.unit.shape != direction.unit.shape:
        raise UserError(
            f"The control's direction is {list(along.unit.shape)} where the edit's is {list(direction.unit.shape)}; "
            "make it with `random_like` of the same vectors."
        )
