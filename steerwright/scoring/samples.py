"""Which pictures an edit is judged on: every strength, and the controls, beside the unsteered picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steerwright.errors import UserErrors, problems_at
from steerwright.images import Sample, picture_path
from steerwright.prompts.concept_table import evenly
from steerwright.prompts.concepts import Concept
from steerwright.steering.attention import EditSpec, parse_edits

Steering = Literal["none", "edit", "random"]
UNSTEERED = "unsteered"
CONTROLS = ("random", "prompt", "negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class EditSample(Sample):
    """One picture that an edit is judged on.

    `condition` names it on disk (steered_0 is the first strength); it lies in the edit's folder, or in the suite's if
    it is unsteered, since the edits of a suite share those. `unsteered` is the file of the unsteered picture of the
    same prompt and seed. `original` is the suite's prompt, from which the one that is drawn may differ in its words.
    """

    condition: str
    prompt_id: int
    original: str
    unsteered: str
    negative_prompt: str = ""
    steering: Steering = "none"
    strength: float = 0.0
    operating: bool = True

    @property
    def shown_as(self) -> str:
        """The condition without the number of its strength."""
        return self.condition.partition("_")[0]


class Seeds(BaseModel):
    """Which seeds a suite's pictures are made on, and on how many of its prompts.

    `scored`: the unsteered pictures and those at the operating strength; `sweep`: the other strengths, for the curves;
    `controls`: random direction, words in the prompt, negative prompt. `prompts`: this many, taken evenly; None: all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scored: tuple[int, ...] = Field(min_length=1)
    sweep: tuple[int, ...] = ()
    controls: tuple[int, ...] = ()
    prompts: int | None = Field(default=None, ge=1)


def parse_seeds(params: Mapping[str, Any], suite: str, where: str = "attention.images.seeds") -> Seeds:
    """The seeds of `suite`. Raises UserErrors with every problem as `where.suite.key: message`."""
    if suite not in params:
        raise UserErrors("These seeds cannot be used:", [f"{where}: there is no {suite!r}; give its seeds"])
    try:
        return Seeds.model_validate(params[suite])
    except ValidationError as error:
        raise UserErrors("These seeds cannot be used:", problems_at(error, where, suite)) from None


def edit_samples(
    name: str,
    edit: EditSpec,
    concepts: Mapping[str, Concept],
    prompts: Sequence[Mapping[str, Any]],
    *,
    strength: float,
    seeds: Seeds,
) -> list[EditSample]:
    """The pictures of the edit `name` on `prompts` (id and prompt), operating at `strength`.

    Controls: `random`, random directions of equal norm at the same
    places and strength; `prompt`, the concept added to the prompt, taken out of it, or swapped in it; `negative`, the
    concept as negative prompt; for adding, what it is contrasted with.
    """
    found: list[EditSample] = []
    concept = concepts[edit.concept]
    for row in evenly(prompts, seeds.prompts or len(prompts)):
        text = str(row["prompt"])
        reworded = reworded_for(edit, concept, concepts, text)
        negative = ", ".join(concept.against) if edit.action == "add" else concept.text
        for seed in dict.fromkeys([*seeds.scored, *seeds.sweep, *seeds.controls]):
            common: dict[str, Any] = {"prompt_id": int(row["id"]), "original": text, "seed": seed}
            common["unsteered"] = f"{edit.suite}/{picture_path(UNSTEERED, common['prompt_id'], seed)}"

            def sample(condition: str, prompt: str = text, common: dict[str, Any] = common, **more: Any) -> EditSample:
                path = f"{name}/{picture_path(condition, common['prompt_id'], common['seed'])}"
                return EditSample(prompt=prompt, path=path, condition=condition, **common, **more)

            found.append(replace(sample(UNSTEERED), path=common["unsteered"]))
            for number, one in enumerate(edit.strengths):
                operating = one == strength
                if seed in (seeds.scored if operating else seeds.sweep):
                    found.append(sample(f"steered_{number}", steering="edit", strength=one, operating=operating))
            if seed in seeds.controls:
                found.append(sample("random", steering="random", strength=strength))
                found.append(sample("prompt", reworded))
                if negative:
                    found.append(sample("negative", negative_prompt=negative))
    order = {condition: place for place, condition in enumerate(dict.fromkeys(one.condition for one in found))}
    return sorted(found, key=lambda one: order[one.condition])


def reworded_for(edit: EditSpec, concept: Concept, concepts: Mapping[str, Concept], text: str) -> str:
    """What `text` would say if the edit were asked for in words: with the concept, without it, or with the target."""
    if edit.action == "add":
        return text if concept.kind(text) == "contains" else f"{text} {concept.text}"
    return concept.reworded(text, concepts[edit.target].text if edit.target else concept.without)


# What the attention pipeline does, from its prompts and parameters: concepts, suites, edits, and their pictures.


@dataclass(frozen=True, slots=True)
class EditPlan:
    """Concepts by name; suites with their `scored` and `tuning` prompts (id, prompt); edits by name."""

    concepts: dict[str, Concept]
    suites: dict[str, Any]
    edits: dict[str, EditSpec]

    @classmethod
    def read(cls, prompts: Path, edits: Mapping[str, Any]) -> "EditPlan":
        """From the prompts that stage attention-prompts wrote, and `attention.edits`. Raises as `parse_edits`."""
        content = json.loads(prompts.read_text())
        concepts = {name: Concept.model_validate(found["concept"]) for name, found in content["concepts"].items()}
        suites = content["suites"]
        return cls(concepts, suites, parse_edits(edits, set(concepts), set(suites), "attention.edits"))

    def samples(self, name: str, strength: float, seeds: Mapping[str, Any]) -> list[EditSample]:
        """The pictures of the edit `name` operating at `strength`; `seeds` by suite. Raises as `parse_seeds`."""
        edit = self.edits[name]
        return edit_samples(
            name,
            edit,
            self.concepts,
            self.suites[edit.suite]["scored"],
            strength=strength,
            seeds=parse_seeds(seeds, edit.suite),
        )
