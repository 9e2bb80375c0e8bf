"""What an edit makes of the values of chosen latents, token by token.

Every change says what the latents become at strength 1; the edit's strength interpolates from where they are, and may
overshoot. A change whose new values are the old ones is the identity, to the bit.
"""

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class ScaleLatents:
    """z' = factor * z: 0 ablates (the latents' part of the reconstruction goes), 1 changes nothing."""

    factor: float


@dataclass(frozen=True, slots=True)
class ClampLatents:
    """z' = z, but at least `low` and at most `high`; None for no limit."""

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"no value is at least {self.low} and at most {self.high}")


@dataclass(frozen=True, slots=True, eq=False)
class SetLatents:
    """z' = values, float32 [n]: for instance the latents' means over images without the concept.

    `side` [n], of -1 and 1: only the latents that lie on this side of their value move (1: above it), the others stay
    as they are. So a concept's latents come down to where they are without it, and no token gains any of them.
    """

    values: Tensor
    side: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SetMeans:
    """z' = z + (values - mean of z over the image's tokens), values float32 [n].

    The image's mean becomes `values` while what lies where in the image stays; with `side` as for `SetLatents`, by the
    image's mean. The dose fits itself to the image: one whose mean is there already is left alone.
    """

    values: Tensor
    side: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AddLatents:
    """z' = z + values, float32 [n], on every token: a difference of two concepts' means moves from one to the other.

    `floor`: latents do not fall below it by this; those that lie below it already stay where they are.
    """

    values: Tensor
    floor: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MoveLatents:
    """z' = z + max(0, p) * (to - origin), with p the token's own share of the way: how far z lies from `to` towards
    `origin`, as a share of their distance. `origin` and `to` are float32 [n]: the means with and without a concept.

    So a token that is like those with the concept (p = 1) moves all the way, one without it (p = 0) stays, and one that
    has twice as much moves twice as far: the centred removal of a direction (`ProjectOut`) in the space of the latents.
    """

    origin: Tensor
    to: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ScaleByMean:
    """z' = factor * mean * z where z > threshold, else z; `mean` and `threshold` float32 [n].

    With the concept's mean, the mean over all concepts as threshold, and a negative factor: the published unlearning of
    SAeUron (arXiv:2501.18052), whose strength goes with the square of an activation's units.
    """

    factor: float
    mean: Tensor
    threshold: Tensor


LatentChange = ScaleLatents | ClampLatents | SetLatents | SetMeans | AddLatents | MoveLatents | ScaleByMean


def changed(change: LatentChange, values: Tensor) -> Tensor:
    """New values of the chosen latents, from `values` [images, tokens, n]; same shape and dtype, never in place."""
    match change:
        case ScaleLatents(factor=factor):
            return values if factor == 1 else factor * values
        case ClampLatents(low=low, high=high):
            return values if low is None and high is None else values.clamp(low, high)
        case SetLatents(values=wanted, side=side):
            return _beyond(values, wanted.to(values), wanted.to(values).expand_as(values), side)
        case SetMeans(values=wanted, side=side):
            means = values.mean(-2, keepdim=True)
            return _beyond(means, wanted.to(values), values + (wanted.to(values) - means), side, otherwise=values)
        case AddLatents(values=more, floor=floor):
            moved = values + more.to(values)
            return moved if floor is None else torch.maximum(moved, values.clamp(max=floor))
        case MoveLatents(origin=origin, to=to):
            way = to.to(values) - origin.to(values)
            # Where the means agree there is no way to go, and 0 / tiny is 0.
            length = way.square().sum().clamp(min=torch.finfo(values.dtype).tiny)
            share = ((values - to.to(values)) @ -way / length).clamp(min=0)
            return values + share[..., None] * way
        case ScaleByMean(factor=factor, mean=mean, threshold=threshold):
            return torch.where(values > threshold.to(values), factor * mean.to(values) * values, values)
        case _:
            assert_never(change)


def _beyond(
    found: Tensor, limit: Tensor, moved: Tensor, side: Tensor | None, otherwise: Tensor | None = None
) -> Tensor:
    """`moved` for the latents that are found on `side` of `limit`; the others stay."""
    stay = found if otherwise is None else otherwise
    return moved if side is None else torch.where(side.to(found) * (found - limit) > 0, moved, stay)


def width_of(change: LatentChange) -> int | None:
    """For how many latents `change` is made; None for any number."""
    match change:
        case ScaleLatents() | ClampLatents():
            return None
        case SetLatents(values=values) | SetMeans(values=values) | AddLatents(values=values):
            return len(values)
        case MoveLatents(origin=origin):
            return len(origin)
        case ScaleByMean(mean=mean):
            return len(mean)
        case _:
            assert_never(change)
