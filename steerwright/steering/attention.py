"""Edits of attention outputs from steering vectors: add, erase, replace a concept inside the UNet."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby, product
from typing import Annotated, Any, Literal, assert_never, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from steerwright.arguments import bound_words, number, whole
from steerwright.errors import UserError, UserErrors, problems_at
from steerwright.models.attention_blocks import AttentionBlock, ChosenAttention, chosen_blocks
from steerwright.models.schedule import nearest
from steerwright.steering.algebra import EDIT_BRANCHES, Edit, EditBranch, read_bound
from steerwright.steering.gates import Always, Gate, InImage, WherePresent
from steerwright.steering.idle_settings import check_given
from steerwright.steering.operators import UNITS, Add, Operator, ProjectOut, Switch, Units
from steerwright.vectors.steering_vectors import NO_CONTROL, SteeringVectors, VectorKey

Action = Literal["add", "erase", "replace"]
ACTIONS: tuple[str, ...] = get_args(Action)
BoundWords = Annotated[str, AfterValidator(bound_words)]


@dataclass(frozen=True, slots=True)
class AttentionRecipe:
    """How vectors become edits; the defaults are the published ones (arXiv:2503.09630).

    `places`: down, mid, up or single blocks (up.3). `attention`: self, cross or both, where vectors of both kinds were
    fitted at these places. `window`: first and last step, 0-based, both inside; None for all.
    `branch`: the half of guidance that is edited. `units`: of the strength of `add`, see `operators.Add`. `bound`: keep
    each token's `norm`, `none`, or a number: the largest change as a share of the token's norm. `two_sided`: erase also
    what lies on the negative side. `centred`: erase and replace measure from where prompts without the concept are
    instead of from zero, and replace exchanges like for like (norm for norm). `gate`: only tokens that hold more of
    the concept than this act, in units of the concept (0: prompts without it, 1: with it). `gate_at`: all tokens of the
    images whose mean at this block (mid.0) holds more, at all places, see `gates.InImage`; of the kind `attention`, and
    of both, cross-attention where there are vectors of it. `gate_until`: what is found there at this step holds for the
    rest of the run. `noise`: use also the vectors that are no longer than a shuffled-label baseline. UserError for
    values that make no sense.
    """

    places: Sequence[str] = ("down", "mid", "up")
    window: tuple[int, int] | None = None
    branch: EditBranch = "both"
    units: Units = "unit"
    bound: str = "keep_norm"
    two_sided: bool = False
    centred: bool = False
    gate: float | None = None
    gate_at: str | None = None
    gate_until: int | None = None
    noise: bool = True
    attention: ChosenAttention = "both"

    def __post_init__(self) -> None:
        if self.branch not in EDIT_BRANCHES:
            raise UserError(f"Branch {self.branch!r} does not exist; choose one of {', '.join(EDIT_BRANCHES)}.")
        if self.units not in UNITS:
            raise UserError(f"Units {self.units!r} do not exist; choose one of {', '.join(UNITS)}.")
        bound_words(self.bound)
        if self.gate is not None:
            number(self.gate, "gate", "give a finite number, such as 0.5.")
        if self.gate_until is not None:
            whole(self.gate_until, "gate_until", 0, "give a step, 0 or later.")

    def given(self) -> dict[str, Any]:
        """The settings that are not the defaults, by name."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) != one.default}


def attention_edits(
    action: Action,
    vectors: SteeringVectors,
    strength: float | Tensor,
    *,
    blocks: Sequence[AttentionBlock],
    timesteps: tuple[float, ...],
    recipe: AttentionRecipe | None = None,
    target: SteeringVectors | None = None,
    along: SteeringVectors | None = None,
) -> list[Edit]:
    """The edits that `action` at `strength` makes of `vectors`, for a run that visits `timesteps`.

    `add` moves along the vector, `erase` removes its component (1 all of it, 2 reflects it), `replace` turns its
    component into one along `target`. `strength` is one number, or one per image [images]. `blocks` are the model's
    attention blocks; those that `recipe` chooses and `vectors` know are edited. A step takes the vector of the nearest
    collected timestep. Vectors that were fitted on both branches steer each branch with its own. `along` (of
    `random_like`) makes a control: the same tokens are moved equally far, but along those directions.
    Raises UserError for places that do not exist or hold no vectors, windows outside the run, a missing target, and
    settings that this action makes nothing of.
    """
    recipe = recipe or AttentionRecipe()
    if action not in ACTIONS:
        raise UserError(f"The action {action!r} does not exist; choose one of {', '.join(ACTIONS)}.")
    check_given(recipe.given(), [action])
    if (target is not None) != (action == "replace"):
        raise UserError("Replacing needs the vectors of what to put in place; adding and erasing take none.")
    first, last = recipe.window or (0, len(timesteps) - 1)
    if not 0 <= first <= last < len(timesteps):
        raise UserError(f"The steps {first} to {last} do not exist; this run has steps 0 to {len(timesteps) - 1}.")
    if recipe.gate_until is not None and recipe.gate_until >= len(timesteps):
        raise UserError(
            f"gate_until {recipe.gate_until}: there is no such step; this run has steps 0 to {len(timesteps) - 1}."
        )
    sources = nearest(vectors.timesteps, timesteps) if vectors.timesteps else tuple(0 for _ in timesteps)
    known = set(vectors.hookpoints)
    here = [block for block in chosen_blocks(blocks, recipe.places, recipe.attention) if block.hookpoint in known]
    if not here:
        kind = "" if recipe.attention == "both" else f" in {recipe.attention}-attention"
        raise UserError(
            f"The vectors for {vectors.concept!r} hold nothing at {', '.join(recipe.places)}{kind}; "
            f"they are for {', '.join(map(str, vectors.hookpoints[:3]))}{', ...' if len(known) > 3 else ''}."
        )
    if not recipe.noise and not any(slot in vectors.controls for slot in vectors.directions):
        raise UserError(
            f"`noise: false` leaves out the vectors of {vectors.concept!r} that are noise, but none has a control: "
            f"{NO_CONTROL}. Collect more pairs, set fewer shuffles, or leave `noise` out."
        )
    edits: list[Edit] = []
    for block in here:
        slots = [slot for slot in vectors.directions if slot.hookpoint == block.hookpoint]
        for own in sorted({slot.branch for slot in slots}, key=str):
            branch = _branch(recipe.branch, own, both=len({slot.branch for slot in slots}) > 1)
            if branch is None:
                continue
            by_step = [
                next((s for s in slots if s.branch == own and _covers(s, source)), None)
                for source in sources[first : last + 1]
            ]
            held = None if recipe.gate_until is None else sources[recipe.gate_until]
            until = len(timesteps) if recipe.gate_until is None else recipe.gate_until
            for (slot, late), run in groupby(range(len(by_step)), key=lambda i: (by_step[i], first + i > until)):
                if slot is None or (not recipe.noise and vectors.is_noise(slot)):
                    continue
                steps = list(run)
                edits.append(
                    Edit(
                        slot.hookpoint,
                        _operator(action, vectors, slot, recipe, target, along),
                        strength,
                        branch=branch,
                        steps=(first + steps[0], first + steps[-1]),
                        gate=_gate(vectors, slot, recipe, blocks, held if late else None),
                        bound=read_bound(recipe.bound),
                    )
                )
    if not edits:
        raise UserError(f"Nothing of the vectors for {vectors.concept!r} is left by these places, steps and branch.")
    return edits


def _covers(slot: VectorKey, step: int) -> bool:
    return slot.steps is None or slot.steps[0] <= step <= slot.steps[1]


def _branch(asked: EditBranch, own: str | None, *, both: bool) -> EditBranch | None:
    """The half that vectors taken from `own` edit; None for none. Alone, they serve for every half asked for."""
    if not both:
        return asked
    if asked == "both":
        return "uncond" if own == "uncond" else "cond"
    # One half only, or opposed: the vectors of the half that is asked for; opposed means the prompt's.
    return asked if (own == "uncond") == (asked == "uncond") else None


def _operator(
    action: Action,
    vectors: SteeringVectors,
    slot: VectorKey,
    recipe: AttentionRecipe,
    target: SteeringVectors | None,
    along: SteeringVectors | None,
) -> Operator:
    direction = vectors.directions[slot]
    instead = along.directions[slot] if along is not None else None
    match action:
        case "add":
            return Add(instead or direction, recipe.units)
        case "erase":
            return ProjectOut(direction, two_sided=recipe.two_sided, centred=recipe.centred, along=instead)
        case "replace":
            assert target is not None, "checked above"
            found = target.directions.get(slot)
            if found is None:
                raise UserError(
                    f"The vectors for {target.concept!r} hold nothing at {slot.hookpoint}, where those for "
                    f"{vectors.concept!r} do; fit both with the same blocks, steps and bins."
                )
            return Switch(direction, found, centred=recipe.centred, proportional=recipe.centred, along=instead)
        case _:
            assert_never(action)


def _gate(
    vectors: SteeringVectors,
    slot: VectorKey,
    recipe: AttentionRecipe,
    blocks: Sequence[AttentionBlock],
    held: int | None,
) -> Gate:
    """The gate of an edit with the vector of `slot`; `held` is the step of the vectors at which it was decided."""
    if recipe.gate is None:
        return Always()
    if recipe.gate_at is None:
        return WherePresent(vectors.directions[slot], recipe.gate, centred=True)
    # By the block's kind, not by the order of `blocks`, which callers choose.
    for block in sorted(chosen_blocks(blocks, [recipe.gate_at], recipe.attention), key=lambda one: one.attention):
        for known, direction in vectors.directions.items():
            here = known.hookpoint == block.hookpoint and known.branch == slot.branch
            if here and (known.steps == slot.steps if held is None else _covers(known, held)):
                return InImage(block.hookpoint, direction, recipe.gate, None if held is None else recipe.gate_until)
    raise UserError(
        f"The vectors for {vectors.concept!r} hold nothing at {recipe.gate_at}, where the gate is to look for the "
        "concept; fit them there too, or name another block."
    )


# What params.yaml says about one edit of attention layers: what is done, where, and which strengths are tried.

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing to try: these places at this strength."""

    places: tuple[str, ...]
    strength: float


class EditSpec(BaseModel):
    """An edit before its operating point is known. Fields that `AttentionRecipe` has mean what they mean there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action
    concept: str
    target: str | None = Field(default=None, description="replace: the concept that comes in its place.")
    suite: str = Field(description="The prompts that it is tuned and scored on.")
    strengths: tuple[float, ...] = Field(min_length=1)
    places: tuple[tuple[str, ...], ...] = Field(default=(("down", "mid", "up"),), min_length=1)
    branch: EditBranch = "both"
    units: Units = "unit"
    bound: BoundWords = "keep_norm"
    window: tuple[int, int] | None = None
    two_sided: bool = False
    centred: bool = False
    gate: float | None = None
    gate_at: str | None = None
    gate_until: int | None = Field(default=None, ge=0)
    noise: bool = True
    attention: ChosenAttention = "both"
    goal: float = Field(
        gt=0, le=1, description="Mean CLIP probability of what is wanted that is enough, on tuning prompts."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "EditSpec":
        if (self.target is not None) != (self.action == "replace"):
            raise ValueError("a target is for replace, which needs one")
        if sorted(set(self.strengths)) != list(self.strengths) or self.strengths[0] <= 0:
            raise ValueError("strengths are positive and ascend")
        try:
            given = {name: getattr(self, name) for name in self.model_fields_set}
            # `units: unit`, the default, is what a set of parameters writes over another's.
            check_given(given | {"units": None if self.units == "unit" else self.units}, [self.action])
        except UserError as error:
            raise ValueError(str(error)) from None
        return self

    def recipe(self, places: tuple[str, ...]) -> AttentionRecipe:
        """How vectors become edits at `places`."""
        return AttentionRecipe(
            places=places,
            window=self.window,
            branch=self.branch,
            units=self.units,
            bound=self.bound,
            two_sided=self.two_sided,
            centred=self.centred,
            gate=self.gate,
            gate_at=self.gate_at,
            gate_until=self.gate_until,
            noise=self.noise,
            attention=self.attention,
        )

    @property
    def candidates(self) -> list[Candidate]:
        """Everything to try, the least first: fewer places before more, then by strength."""
        return [Candidate(places, strength) for places, strength in product(self.places, self.strengths)]


def parse_edits(params: Mapping[str, Any], concepts: set[str], suites: set[str], where: str) -> dict[str, EditSpec]:
    """The edits by name. Raises UserErrors with every problem as `where.name.key: message`."""
    found: dict[str, EditSpec] = {}
    problems: list[str] = []
    for name, values in params.items():
        if not _NAME.fullmatch(name):
            problems.append(f"{where}.{name}: a name has small letters, digits and - only")
            continue
        try:
            spec = EditSpec.model_validate(values)
        except ValidationError as error:
            problems += problems_at(error, where, name)
            continue
        for key, wanted, known in (
            ("concept", spec.concept, concepts),
            ("target", spec.target, concepts),
            ("suite", spec.suite, suites),
        ):
            if wanted is not None and wanted not in known:
                problems.append(f"{where}.{name}.{key}: there is no {wanted!r}; there are {', '.join(sorted(known))}")
        found[name] = spec
    if problems or not found:
        raise UserErrors("These edits cannot be used:", problems or [f"{where}: there is none"])
    return found
