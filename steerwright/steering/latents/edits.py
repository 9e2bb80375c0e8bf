"""Edits from a concept's latents: erase it, or steer towards it, at one or several autoencoders' hookpoints."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from steerwright.concepts.scores import ConceptMoments, moment_scores
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import require_hookpoint
from steerwright.steering.algebra import Edit, EditBranch
from steerwright.steering.gates import Always
from steerwright.steering.latents.gates import LatentsInImage, WhereLatents
from steerwright.steering.latents.operators import (
    AddLatents,
    EditLatents,
    LatentChange,
    LatentPart,
    Merge,
    MoveLatents,
    ReplacePatches,
    SaeuronEdit,
    ScaleByMean,
    ScaleLatents,
    SetLatents,
    SetMeans,
    Source,
)

# How a concept's latents become edits: where, which latents, what becomes of them, and in which images.

Action = Literal["erase", "add"]
Change = Literal["set", "set_means", "move", "add", "scale", "clamp", "scale_by_mean", "replace"]
Rank = Literal["cohens_d", "mean_difference", "share_difference"]


class LatentRecipe(BaseModel):
    """What `latent_edits` makes of a concept; places are names of autoencoders, means those of images at each step.

    `change`, for erasing and for adding alike, from the means of the images without the concept and with it:
    `set`: each token's latents take the mean that is wanted; `set_means`: the image's mean does, and what lies where
    stays; `move`: each token goes as much of the way between the means as it has of the concept, see `MoveLatents`;
    `add`: the difference of the two means on every token; `scale`: times `factor` (0 is plain ablation);
    `clamp`: latents that are higher with the concept stay below the mean without it (erasing), or at least at the mean
    with it (adding); `scale_by_mean`: SAeUron's, with its negative `factor` (arXiv:2501.18052); `replace`: tokens on
    which a latent of the concept's own exceeds `where` (0 if None) take other content, whole, from `source`
    (arXiv:2606.31699; only for erasing).

    `top` latents are chosen again for each step by the size of `rank`, on both sides: also those that are lower with
    the concept; with `own_only` only those that are higher. `one_sided`: set and set_means move only latents on
    the concept's side of the wanted mean. `toward`: another value of the same axis, whose means are wanted instead of
    those of all images without the concept (only for erasing).

    `gate`: act only in images whose presence of the concept at `gate_at` (an autoencoder; the first place if None),
    by `gate_top` latents, exceeds this: 0 is the mean of images without the concept, 1 of those with it. After step
    `gate_until` what was found then holds for the rest of the run.
    `where`: act only on tokens on which one of the concept's own latents exceeds this.
    `window`: first and last step, 0-based, both inside. `compat: saeuron`: the published sign of the error, which only
    goes with scale_by_mean, without a gate, and at strength 1: what is varied there is `factor`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: tuple[str, ...] = Field(min_length=1)
    change: Change = "set"
    top: int = Field(default=64, ge=1)
    rank: Rank = "cohens_d"
    own_only: bool = False
    one_sided: bool = False
    factor: float | None = None
    toward: str | None = None
    branch: EditBranch = "cond"
    window: tuple[int, int] | None = None
    gate: float | None = None
    gate_at: str | None = None
    gate_top: int = Field(default=64, ge=1)
    gate_until: int | None = Field(default=None, ge=0)
    where: float | None = None
    source: Source | None = None
    compat: Literal["saeuron"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "LatentRecipe":
        if (self.factor is not None) != (self.change in ("scale", "scale_by_mean")):
            raise ValueError("`factor` belongs to the changes scale and scale_by_mean, which need one")
        if self.compat and (self.change != "scale_by_mean" or self.gate is not None or self.where is not None):
            raise ValueError("`compat: saeuron` goes with change: scale_by_mean alone, without gate and where")
        if (self.source is not None) != (self.change == "replace"):
            raise ValueError("`source` (uncond or neighbours) belongs to the change replace, which needs one")
        if self.toward is not None and self.change not in ("set", "set_means", "move", "add"):
            raise ValueError("`toward` goes with the changes set, set_means, move and add")
        if self.one_sided and self.change not in ("set", "set_means"):
            raise ValueError("`one_sided` goes with the changes set and set_means; others would make nothing of it")
        usual = {"gate_at": None, "gate_until": None, "gate_top": 64}
        if self.gate is None and (idle := [name for name in usual if getattr(self, name) != usual[name]]):
            raise ValueError(f"{', '.join(idle)}: this says how `gate` is measured; give `gate` too, or leave it out")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class ConceptLatents:
    """An autoencoder, and what its latents do in images with and without each concept, step by step."""

    sae: Sae
    moments: ConceptMoments

    def __post_init__(self) -> None:
        require_hookpoint(self.sae.site, "of these latents")
        if self.sae.size != self.moments.size:
            raise UserError(
                f"The autoencoder has {self.sae.size} latents, but the concept means are of {self.moments.size}: "
                "they belong to another one. Map the concepts again."
            )

    @property
    def hookpoint(self) -> Hookpoint:
        return require_hookpoint(self.sae.site, "of these latents")


def latent_edits(
    action: Action,
    places: Mapping[str, ConceptLatents],
    concept: str,
    recipe: LatentRecipe,
    strength: float | Tensor,
    *,
    steps: int,
    random: int | None = None,
) -> list[Edit]:
    """The edits of a run of `steps` denoising steps that erase or add `concept` (`season:winter`), by place and step.

    `places` are autoencoders with their concepts' means by name. A step without means of its own takes those of the
    nearest step there are means of. `random`: instead of the concept's latents equally many others that are active,
    drawn with this seed; the control that touches the same images. Raises UserError for places, concepts and windows
    that do not exist.
    """
    first, last = recipe.window or (0, steps - 1)
    if not 0 <= first <= last < steps:
        raise UserError(f"The steps {first} to {last} do not exist; this run has steps 0 to {steps - 1}.")
    if recipe.gate_until is not None and recipe.gate_until >= steps:
        raise UserError(f"gate_until {recipe.gate_until}: there is no such step; this run has steps 0 to {steps - 1}.")
    here = [_place(places, name) for name in recipe.places]
    looked_at = _place(places, recipe.gate_at or recipe.places[0])
    draw = None if random is None else torch.Generator().manual_seed(random)
    edits: list[Edit] = []
    held: LatentsInImage | None = None
    for step in range(first, last + 1):
        gate: LatentsInImage | Always = Always()
        if recipe.gate is not None:
            until = step if recipe.gate_until is None else min(step, recipe.gate_until)
            measured = presence_gate(looked_at, concept, until, top=recipe.gate_top, threshold=recipe.gate)
            if until < step:
                held = held or replace(measured, held_from=until)
            gate = held or measured
        for source in here:
            operator = _operator(action, source, concept, _nearest(source.moments, step), recipe, strength, draw)
            edits.append(
                Edit(source.hookpoint, operator, strength, branch=recipe.branch, steps=(step, step), gate=gate)
            )
    return edits


def together(edits: Sequence[Sequence[Edit]], merge: Merge) -> list[Edit]:
    """Edits of several concepts as one edit a place and step, whose changes of shared latents are merged by `merge`.

    Without this, edits of several concepts compose: each sees what the one before made. Raises UserError where they
    differ in strength, branch or autoencoder, or are no edits of latents that can be merged.
    """
    groups: dict[tuple[Hookpoint, tuple[int, int] | None], list[Edit]] = {}
    for edit in (edit for some in edits for edit in some):
        groups.setdefault((edit.hookpoint, edit.steps), []).append(edit)
    return [_merged(group, merge) for group in groups.values()]


def presence_gate(source: ConceptLatents, concept: str, step: int, *, top: int, threshold: float) -> LatentsInImage:
    """The gate by image at `source` for `concept`: its best latents, weighted as a linear discriminant weighs them.

    Each weight is the difference of the means over the variance within (pooled); the sum is scaled so that presence is
    0 at the mean of the images without the concept and 1 at the mean of those with it.
    """
    step = _nearest(source.moments, step)
    latents = _best(source.moments, concept, step, top, "cohens_d", own_only=False)
    wanted, others, variance = (found[latents] for found in _statistics(source.moments, concept, step))
    # Latents that hardly vary would weigh without limit: what the mean latent varies is the least that each does.
    weights = (wanted - others) / (variance + variance.mean())
    weights = weights / (weights @ (wanted - others)).clamp(min=torch.finfo(weights.dtype).tiny)
    origin = float(weights @ others)
    return LatentsInImage(source.hookpoint, source.sae, latents, weights.float(), origin, threshold)


def _place(places: Mapping[str, ConceptLatents], name: str) -> ConceptLatents:
    if name not in places:
        raise UserError(f"There is no autoencoder {name!r}; there are {', '.join(places)}.")
    return places[name]


def _nearest(moments: ConceptMoments, step: int) -> int:
    return min(moments.steps, key=lambda known: (abs(known - step), known))


def _statistics(moments: ConceptMoments, concept: str, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Means with and without the concept, and the variance within, pooled: float64 [n] each."""
    count, mean, variance = moments.mean_and_variance([moments.index(concept)], step)
    count_others, others, variance_others = moments.mean_and_variance(moments.others(concept), step)
    freedom = max(count + count_others - 2, 1)
    return mean, others, ((count - 1) * variance + (count_others - 1) * variance_others) / freedom


def _best(moments: ConceptMoments, concept: str, step: int, top: int, rank: str, *, own_only: bool) -> Tensor:
    """The `top` latents int64 [n], in their own order; fewer where fewer are ever active in images of the axis."""
    mean, others, _ = _statistics(moments, concept, step)
    score = moment_scores(moments, concept, step, rank)  # type: ignore[arg-type]
    score = torch.nan_to_num(score if own_only else score.abs(), nan=0.0)
    score = torch.where((mean > 0) | (others > 0), score, -torch.inf)
    order = score.argsort(descending=True, stable=True)[: min(top, int(score.isfinite().sum()))]
    return order.sort().values


def _operator(
    action: Action,
    source: ConceptLatents,
    concept: str,
    step: int,
    recipe: LatentRecipe,
    strength: float | Tensor,
    draw: torch.Generator | None,
) -> EditLatents | SaeuronEdit | ReplacePatches:
    moments = source.moments
    latents = _best(moments, concept, step, recipe.top, recipe.rank, own_only=recipe.own_only)
    if draw is not None:
        latents = _others(moments, concept, step, latents, draw)
    having, lacking, _ = (found[latents].float() for found in _statistics(moments, concept, step))
    if recipe.toward is not None:
        other = f"{concept.partition(':')[0]}:{recipe.toward}"
        lacking = moments.concept_means(other, step)[latents]
    at, wanted = (having, lacking) if action == "erase" else (lacking, having)
    if recipe.change == "scale_by_mean":
        assert recipe.factor is not None, "checked by the recipe"
        change = ScaleByMean(recipe.factor, having, moments.axis_means(concept, step)[latents])
        if recipe.compat == "saeuron":
            if not bool((torch.as_tensor(strength) == 1).all()):
                raise UserError("`compat: saeuron` is as it was published at strength 1 only; vary `factor` instead.")
            return SaeuronEdit(source.sae, latents, change)
        return EditLatents(source.sae, (LatentPart(latents, change),))
    own = latents[having > lacking]
    if recipe.change == "replace":
        if action != "erase":
            raise UserError("Patches are replaced to erase a concept; to add one, set its latents or move them.")
        assert recipe.source is not None, "checked by the recipe"
        return ReplacePatches(source.sae, own, recipe.where or 0.0, recipe.source, _grid(source.sae))
    where = None if recipe.where is None else WhereLatents(source.sae, own, recipe.where)
    return EditLatents(
        source.sae,
        tuple(LatentPart(latents[chosen], change, where) for chosen, change in _changes(action, at, wanted, recipe)),
    )


def _changes(action: Action, at: Tensor, wanted: Tensor, recipe: LatentRecipe) -> Iterator[tuple[Tensor, LatentChange]]:
    """Changes, each with the bool mask [n] of the latents it is for."""
    everywhere = torch.ones_like(at, dtype=torch.bool)
    side = torch.where(at >= wanted, 1.0, -1.0) if recipe.one_sided else None
    match recipe.change:
        case "set":
            yield everywhere, SetLatents(wanted, side)
        case "set_means":
            yield everywhere, SetMeans(wanted, side)
        case "move":
            yield everywhere, MoveLatents(at, wanted)
        case "add":
            yield everywhere, AddLatents(wanted - at)
        case "scale":
            assert recipe.factor is not None, "checked by the recipe"
            yield everywhere, ScaleLatents(recipe.factor)
        case "clamp":
            # The latents that are higher with the concept: down to where they are without it, or up to where with it.
            own = at > wanted if action == "erase" else wanted > at
            yield own, SetLatents(wanted[own], torch.where(at[own] > wanted[own], 1.0, -1.0))
        case "scale_by_mean" | "replace":
            raise AssertionError("made by the caller")
        case _:
            assert_never(recipe.change)


def _grid(sae: Sae) -> tuple[int, int] | None:
    grid = sae.site.grid
    return (grid[0], grid[1]) if grid is not None and len(grid) == 2 else None


def _others(moments: ConceptMoments, concept: str, step: int, taken: Tensor, draw: torch.Generator) -> Tensor:
    """As many latents as in `taken`, none of them, out of those that are active in images of the axis."""
    mean, others, _ = _statistics(moments, concept, step)
    free = (mean > 0) | (others > 0)
    free[taken] = False
    pool = free.nonzero().flatten()
    return pool[torch.randperm(len(pool), generator=draw)[: len(taken)]].sort().values


def _merged(group: Sequence[Edit], merge: Merge) -> Edit:
    first, sae = group[0], None
    parts: list[LatentPart] = []
    for edit in group:
        operator, gate = edit.operator, edit.gate
        if not isinstance(operator, EditLatents):
            raise UserError("Only edits of latents that are decoded by their change can be merged.")
        sae = operator.sae if sae is None else sae
        if operator.sae is not sae or edit.branch != first.branch or edit.strength != first.strength:
            raise UserError(
                f"The edits at {edit.hookpoint} differ in strength, branch or autoencoder, so their changes cannot be "
                "merged; let them follow one another instead."
            )
        for part in operator.parts:
            if isinstance(gate, Always):
                parts.append(part)
            elif isinstance(gate, LatentsInImage | WhereLatents) and part.gate is None:
                parts.append(replace(part, gate=gate))
            else:
                raise UserError(f"The edits at {edit.hookpoint} have two gates each; only one can be merged.")
    assert sae is not None, "a group has an edit"
    return replace(first, operator=EditLatents(sae, tuple(parts), merge), gate=Always())
