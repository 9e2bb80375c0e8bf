"""Under which conditions the test prompts are answered: steered, unsteered, and the controls of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from steerkit.errors import UserErrors
from steerkit.models.fingerprint import Fingerprint
from steerkit.steering.edit import Edit
from steerkit.steering.language.text_edits import text_edits
from steerkit.steering.language.turns import Turns
from steerkit.steering.language_sweep import SteeringWay, sweep_layers
from steerkit.vectors.mixing import mix, parse_mix, takes_turns
from steerkit.vectors.random_direction import random_like
from steerkit.vectors.steering_vectors import SteeringVectors
from steerkit.vectors.vectors_file import load_vectors

ConditionName = Literal["unsteered", "steered", "random", "instruction", "asked", "removed", "mix"]
# Scored as answers to the prompt that asks for the concept.
UNDER_GIVEN: tuple[ConditionName, ...] = ("asked", "removed")


class Removal(BaseModel):
    """How a concept that a prompt asks for is taken out, by the direction in which asking moves an answer's tokens.

    `project` takes the component along it out of tokens, measured from where plain answers lie; `subtract` pushes them
    the other way, in the units of steering.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["project", "subtract"] = "project"
    layers: list[int] | None = Field(
        default=None, description="null: project at all, subtract where the concept is added."
    )
    strength: float = Field(default=1.5, gt=0, description="To project: 1 takes the component out, 2 reflects it.")
    tokens: str = Field(default="all", description="Which tokens: last, generated, all, span:a:b.")

    def edits(self, vectors: SteeringVectors, way: SteeringWay, chosen: int) -> list[Edit]:
        """The edits that take out what `vectors` (`removal_vectors`) say; `chosen`: where the concept is added."""
        if self.by == "project":
            layers = sweep_layers(vectors, self.layers)
            return text_edits(vectors, layers, self.strength, action="remove", tokens=self.tokens)
        return replace(way, tokens=self.tokens).add(vectors, self.layers or [chosen], -self.strength)


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """One way to answer all test prompts.

    `concept`: the concept or mix that it is about, None for unsteered; `instruction`: words added to each prompt;
    `as_`: the names under which its texts are scored. All but `asked` and `removed` count under the plain prompt: how
    likely the unsteered model finds the text as an answer to that, and how far its distributions lie from the plain
    ones. What is asked for in words is scored twice, as a control of steering and as what is then removed.
    """

    as_: tuple[ConditionName, ...]
    concept: str | None = None
    layer: int | None = None
    strength: float | None = None
    instruction: str | None = None
    edits: tuple[Edit, ...] = ()

    def given(self, prompt: str) -> str:
        """What the model is asked for `prompt`."""
        return prompt if self.instruction is None else f"{prompt} {self.instruction}"


def conditions(
    vectors: Mapping[str, SteeringVectors | Turns],
    instructions: Mapping[str, str],
    chosen: Mapping[str, Mapping[str, Any]],
    mixes: Mapping[str, Mapping[str, Any]],
    way: SteeringWay,
    removal: Removal,
    removals: Mapping[str, SteeringVectors],
    random_seed: int,
) -> list[Condition]:
    """All conditions: unsteered; for each concept of `chosen` steered at its layer and strength, by a random direction
    at the same, asked for in words, and asked for with its vector of `removals` taken out; and each mix at its own
    point.
    """
    found = [Condition(("unsteered",))]
    for name, point in chosen.items():
        own, layer, strength = vectors[name], int(point["layer"]), float(point["strength"])
        assert isinstance(own, SteeringVectors), "a mix is no concept"
        random = random_like(own, random_seed)
        away = removal.edits(removals[name], way, layer)
        said = instructions[name]
        found += [
            Condition(("steered",), name, layer, strength, edits=tuple(way.add(own, [layer], strength))),
            Condition(("random",), name, layer, strength, edits=tuple(way.add(random, [layer], strength))),
            Condition(("instruction", "asked"), name, instruction=said),
            Condition(("removed",), name, None, removal.strength, said, tuple(away)),
        ]
    for text, point in mixes.items():
        layer, strength = int(point["layer"]), float(point["strength"])
        found.append(Condition(("mix",), text, layer, strength, edits=tuple(way.add(vectors[text], [layer], strength))))
    return found


def joined(several: Sequence[Condition], rows: int) -> list[Edit]:
    """The edits of `several` conditions that are written as one batch, `rows` texts of each, one after the other.

    Each edit has its strength on its own condition's rows and zero, which changes nothing, on all others.
    """
    found = []
    for place, condition in enumerate(several):
        for edit in condition.edits:
            strength = torch.zeros(len(several) * rows)
            strength[place * rows : (place + 1) * rows] = edit.strength
            found.append(replace(edit, strength=strength))
    return found


def mixed(text: str, vectors: Mapping[str, SteeringVectors]) -> SteeringVectors | Turns:
    """The mix that `text` names: a sum of unit directions, so that weights alone decide, or concepts in turns."""
    weights = parse_mix(text)
    parts = {name: vectors[name] for name in weights}
    return Turns(parts, weights) if takes_turns(text) else mix(parts, weights, of="unit")


def concept_vectors(folder: Path, model: Fingerprint) -> dict[str, SteeringVectors]:
    """The vectors of every concept in `folder`, in the order of their names; raises as `load_vectors` does."""
    return {path.stem: load_vectors(path, model) for path in sorted(folder.glob("*.safetensors"))}


def all_vectors(folder: Path, model: Fingerprint, mixes: Sequence[str]) -> dict[str, SteeringVectors | Turns]:
    """The vectors of every concept in `folder`, in the order of their names, and then of every mix of them.

    Raises UserErrors for mixes of concepts that are not there, and as `load_vectors` for vectors of another model.
    """
    found = concept_vectors(folder, model)
    problems = [
        f"{text}: there is no concept {name}" for text in mixes for name in parse_mix(text) if name not in found
    ]
    if problems:
        raise UserErrors(f"params.yaml: language.mixes (concepts are {', '.join(found)}):", problems)
    return {**found, **{text: mixed(text, found) for text in mixes}}
