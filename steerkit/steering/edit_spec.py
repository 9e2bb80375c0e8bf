"""What params.yaml says about one edit of attention layers: what is done, where, and which strengths are tried."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from steerkit.errors import UserError, UserErrors
from steerkit.models.attention_blocks import ChosenAttention
from steerkit.steering.attention_edit import Action, AttentionRecipe, KeepOrCap
from steerkit.steering.edit import EditBranch
from steerkit.steering.idle_settings import check_given
from steerkit.steering.operators import Units

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
    bound: KeepOrCap = "norm"
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
            problems += [f"{where}.{'.'.join([name, *map(str, e['loc'])])}: {e['msg']}" for e in error.errors()]
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
