"""Edits of an activation through a sparse autoencoder's latents: only what the latents change is decoded.

x' = x + sum over chosen f of (z'_f - z_f) * decoder[f]: what the autoencoder does not reconstruct stays as it is, and
latents that keep their values leave every bit alone. Sources: arXiv:2501.18052 (unlearning), arXiv:2606.31699 (detect
and replace).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import torch
from torch import Tensor

from steerkit.errors import UserError
from steerkit.sae.latents import SparseLatents
from steerkit.sae.sae import Sae
from steerkit.steering.latent_change import LatentChange, ScaleByMean, changed, width_of
from steerkit.steering.latent_gates import LatentsInImage, WhereLatents, chosen, fires
from steerkit.steering.latent_neighbours import neighbours_mean

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


@dataclass(frozen=True, slots=True, eq=False)
class EditLatents:
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

    def delta(self, acts: Tensor, held: Sequence[Tensor | None] = ()) -> tuple[Tensor, Tensor]:
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
                return fires(part.gate, acts)[..., None]
            case LatentsInImage():
                if held is None:
                    raise ValueError("which images hold the concept was not measured")
                return held.view(-1, *[1] * (acts.ndim - 1))
            case _:
                assert_never(part.gate)


@dataclass(frozen=True, slots=True, eq=False)
class SaeuronEdit:
    """SAeUron's intervention as it was published: its latent change, and its sign of the error.

    x' = decode(z') + (decode(z) - x), where the error that the autoencoder leaves should be added as x - decode(z). So
    a token that no latent changes on is moved too, away by twice the error. For comparisons with published figures.
    Source: arXiv:2501.18052 and its code.
    """

    sae: Sae
    latents: Tensor
    change: ScaleByMean

    def delta(self, acts: Tensor) -> tuple[Tensor, Tensor]:
        """Change of `acts` [images, tokens, d] at strength 1."""
        rows = acts.reshape(-1, acts.shape[-1])
        found, reconstruction = self.sae.reconstruct(rows)
        values = chosen(found, self.latents)
        change = decoded(self.sae, rows, self.latents, changed(self.change, values) - values)
        return acts.new_ones(1), (change + 2 * (reconstruction - rows)).view_as(acts)


@dataclass(frozen=True, slots=True, eq=False)
class ReplacePatches:
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

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise UserError(f"Patches cannot be taken from {self.source!r}; choose one of {', '.join(SOURCES)}.")

    def delta(self, acts: Tensor, uncond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Change of `acts` [images, tokens, d]; `uncond` are the same images' tokens in the unconditional branch."""
        flagged = fires(WhereLatents(self.sae, self.latents, self.threshold), acts)
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
