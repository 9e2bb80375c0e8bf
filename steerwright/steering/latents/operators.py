"""Edits of an activation through a sparse autoencoder's latents: only what the latents change is decoded.

x' = x + sum over chosen f of (z'_f - z_f) * decoder[f]: what the autoencoder does not reconstruct stays as it is, and
latents that keep their values leave every bit alone. Sources: arXiv:2501.18052 (unlearning), arXiv:2606.31699 (detect
and replace).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from steerwright.errors import UserError
from steerwright.sae.latents import SparseLatents
from steerwright.sae.sae import Sae
from steerwright.steering.gates import Gate
from steerwright.steering.latents.gates import LatentsInImage, WhereLatents, chosen
from steerwright.steering.operators import Delta, Operator

# What an edit makes of the values of chosen latents, token by token.
#
# Every change says what the latents become at strength 1; the edit's strength interpolates from where they are, and may
# overshoot. A change whose new values are the old ones is the identity, to the bit.


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


Merge = Literal["sum", "max", "first"]
MERGES: tuple[str, ...] = get_args(Merge)
Source = Literal["uncond", "neighbours"]
SOURCES: tuple[str, ...] = get_args(Source)


@dataclass(frozen=True, slots=True, eq=False)
class LatentPart:
    """What one concept does: `change` to `latents` int64 [n], each named once, on tokens or in images of its `gate`."""

    latents: Tensor
    change: LatentChange
    gate: WhereLatents | LatentsInImage | None = None

    def __post_init__(self) -> None:
        width = width_of(self.change)
        if width is not None and width != len(self.latents):
            raise UserError(f"A change of {width} latents was given for {len(self.latents)} latents.")
        if len(self.latents.unique()) != len(self.latents):
            raise UserError("A latent is named twice in one set; name each once, or give the sets as parts to merge.")


class LatentOperator(Operator):
    """An operator on what the tokens of a picture are to the autoencoder `sae`."""

    __slots__ = ()
    pictures_only = True
    sae: Sae

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.sae.width,)


@dataclass(frozen=True, slots=True, eq=False)
class EditLatents(LatentOperator):
    """Change latents of one or several concepts at once.

    Where several parts change the same latent of a token, `merge` says what becomes of it: the `sum` of their changes,
    the one that goes furthest (`max`), or that of the `first` part that names it (and whose gate holds there).
    """

    sae: Sae
    parts: tuple[LatentPart, ...]
    merge: Merge = "sum"

    def __post_init__(self) -> None:
        if self.merge not in MERGES:
            raise UserError(f"Concepts cannot be merged by {self.merge!r}; choose one of {', '.join(MERGES)}.")
        for part in self.parts:
            if len(part.latents) and not 0 <= int(part.latents.min()) <= int(part.latents.max()) < self.sae.size:
                raise UserError(f"The autoencoder has latents 0 to {self.sae.size - 1}; the edit names others.")

    @property
    def gates(self) -> Sequence[Gate | None]:
        return [part.gate for part in self.parts]

    def delta_among(self, acts: Tensor, held: Sequence[Tensor | None], uncond: Tensor | None) -> Delta:  # noqa: ARG002
        return self.delta(acts, held)

    def delta(self, acts: Tensor, held: Sequence[Tensor | None] = ()) -> Delta:
        """Change of `acts` [images, tokens, d]; `held` says for each part in which images [images] its gate holds."""
        latents = torch.cat([part.latents for part in self.parts]).unique()
        rows = acts.reshape(-1, acts.shape[-1])
        values = chosen(self.sae.encode(rows), latents).view(*acts.shape[:-1], len(latents))
        total = torch.zeros_like(values)
        taken = torch.zeros_like(values, dtype=torch.bool)
        for number, part in enumerate(self.parts):
            places = torch.searchsorted(latents, part.latents)
            mine = values[..., places]
            change = changed(part.change, mine) - mine
            where = self._where(part, acts, held[number] if held else None)
            if where is not None:
                change = torch.where(where, change, 0.0)
            match self.merge:
                case "sum":
                    total[..., places] += change
                case "max":
                    before = total[..., places]
                    total[..., places] = torch.where(change.abs() > before.abs(), change, before)
                case "first":
                    total[..., places] += torch.where(taken[..., places], 0.0, change)
                    taken[..., places] |= torch.ones_like(change, dtype=torch.bool) if where is None else where
                case _:
                    assert_never(self.merge)
        return acts.new_ones(1), decoded(self.sae, rows, latents, total.view(len(rows), -1)).view_as(acts)

    def _where(self, part: LatentPart, acts: Tensor, held: Tensor | None) -> Tensor | None:
        """Where the part acts, bool [images, tokens, 1] or broadcastable; None for everywhere."""
        match part.gate:
            case None:
                return None
            case WhereLatents():
                return part.gate.mask(acts)[..., None]
            case LatentsInImage():
                if held is None:
                    raise ValueError("which images hold the concept was not measured")
                return held.view(-1, *[1] * (acts.ndim - 1))
            case _:
                assert_never(part.gate)


@dataclass(frozen=True, slots=True, eq=False)
class SaeuronEdit(LatentOperator):
    """SAeUron's intervention as it was published: its latent change, and its sign of the error.

    x' = decode(z') + (decode(z) - x), where the error that the autoencoder leaves should be added as x - decode(z). So
    a token that no latent changes on is moved too, away by twice the error. For comparisons with published figures.
    Source: arXiv:2501.18052 and its code.
    """

    sae: Sae
    latents: Tensor
    change: ScaleByMean

    def delta(self, acts: Tensor) -> Delta:
        """Change of `acts` [images, tokens, d] at strength 1."""
        rows = acts.reshape(-1, acts.shape[-1])
        found, reconstruction = self.sae.reconstruct(rows)
        values = chosen(found, self.latents)
        change = decoded(self.sae, rows, self.latents, changed(self.change, values) - values)
        return acts.new_ones(1), (change + 2 * (reconstruction - rows)).view_as(acts)


@dataclass(frozen=True, slots=True, eq=False)
class ReplacePatches(LatentOperator):
    """Detect and replace: tokens on which any of `latents` exceeds `threshold` take other content, whole.

    `source`: `uncond`, the same token of the unconditional branch; `neighbours`, the mean of the nearest tokens around
    it that are not flagged. The autoencoder only finds the tokens; its decoder is not used. `grid` is their [h, w].
    Source: arXiv:2606.31699.
    """

    sae: Sae
    latents: Tensor
    threshold: float
    source: Source
    grid: tuple[int, int] | None = None

    reads_uncond = True

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise UserError(f"Patches cannot be taken from {self.source!r}; choose one of {', '.join(SOURCES)}.")

    def delta_among(self, acts: Tensor, held: Sequence[Tensor | None], uncond: Tensor | None) -> Delta:  # noqa: ARG002
        return self.delta(acts, uncond)

    def delta(self, acts: Tensor, uncond: Tensor | None = None) -> Delta:
        """Change of `acts` [images, tokens, d]; `uncond` are the same images' tokens in the unconditional branch."""
        flagged = WhereLatents(self.sae, self.latents, self.threshold).mask(acts)
        if self.source == "neighbours":
            content = neighbours_mean(acts, flagged, self.grid)
        elif uncond is None:
            raise UserError(
                "Patches can be replaced from the unconditional branch only where there is one: set a guidance above "
                "1, or take them from neighbours."
            )
        else:
            content = uncond.to(acts)
        return acts.new_ones(1), torch.where(flagged[..., None], content - acts, 0.0)


def decoded(sae: Sae, rows: Tensor, latents: Tensor, change: Tensor) -> Tensor:
    """What `change` [rows, n] of `latents` [n] does to `rows` [rows, d], in the rows' own units."""
    indices = latents.expand(len(rows), -1)
    return sae.delta(rows, SparseLatents(indices, change, sae.size)).to(rows.dtype)


# What lies around tokens of a grid: the mean of the nearest tokens that are not flagged.


def neighbours_mean(acts: Tensor, flagged: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
    """For each flagged token of `acts` [images, tokens, d] the mean of the nearest ring of tokens around it.

    A flagged token that touches unflagged ones (up to eight) takes their mean; then it counts as filled, and the ring
    within is filled from it, until none is left. An image that is flagged everywhere, and tokens that are not flagged
    [images, tokens], stay. `grid` is [h, w]; None for a square. UserError when the tokens do not form it.
    """
    images, tokens, width = acts.shape
    h, w = grid or (math.isqrt(tokens), math.isqrt(tokens))
    if h * w != tokens:
        raise UserError(f"{tokens} tokens do not form a grid of {h} x {w}; give the grid of this resolution.")
    out, known = acts.clone(), ~flagged
    ring = acts.new_ones(1, 1, 3, 3)
    while True:
        maps = (out * known[..., None]).transpose(1, 2).reshape(images * width, 1, h, w)
        sums = conv2d(maps, ring, padding=1).view(images, width, tokens).transpose(1, 2)
        counts = conv2d(known.to(acts).view(images, 1, h, w), ring, padding=1).view(images, tokens)
        reached = ~known & (counts > 0)
        if not reached.any():
            return out
        out = torch.where(reached[..., None], sums / counts.clamp(min=1)[..., None], out)
        known = known | reached
