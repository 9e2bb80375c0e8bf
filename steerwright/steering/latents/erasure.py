"""What erases targets: recipes and strengths as params.yaml gives them, and the edits that they make with files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steerwright.concepts.scores import load_concept_moments
from steerwright.errors import UserError, UserErrors, problems_at
from steerwright.models.load import LoadedModel
from steerwright.models.schedule import timesteps
from steerwright.sae.sae_file import load_sae
from steerwright.steering.algebra import Edit
from steerwright.steering.latents.edits import Action, ConceptLatents, LatentRecipe, latent_edits


class ConceptChange(BaseModel):
    """One concept (`season:winter`) erased or added by a recipe; `random`: by latents drawn with this seed instead."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concept: str
    recipe: LatentRecipe
    strength: float
    action: Action = "erase"
    random: int | None = None


class Candidates(LatentRecipe):
    """A recipe at several strengths, of which the first that does what is wanted is taken."""

    strengths: tuple[float, ...] = Field(default=(1.0,), min_length=1)

    @property
    def recipe(self) -> LatentRecipe:
        return LatentRecipe(**self.model_dump(exclude={"strengths"}))


def parse_methods(
    params: Mapping[str, Any], axes: Sequence[str], where: str = "latents.search.methods"
) -> dict[str, dict[str, list[tuple[LatentRecipe, float]]]]:
    """What to try, by method and axis, the least edit first: recipes and strengths, one after the other.

    A method has a list of recipes for all `axes`, or one list for each. Raises UserErrors with every problem as
    `where.method.axis.number.key: message`.
    """
    found: dict[str, dict[str, list[tuple[LatentRecipe, float]]]] = {}
    problems: list[str] = []
    for method, given in params.items():
        by_axis = given if isinstance(given, Mapping) else dict.fromkeys(axes, given)
        problems += [
            f"{where}.{method}: there is no recipe for the axis {axis}" for axis in axes if axis not in by_axis
        ]
        for axis in axes:
            tries = found.setdefault(method, {}).setdefault(axis, [])
            for number, one in enumerate(by_axis.get(axis, [])):
                try:
                    parsed = Candidates.model_validate(one)
                except ValidationError as error:
                    problems += problems_at(error, where, method, axis, number)
                else:
                    tries += [(parsed.recipe, strength) for strength in parsed.strengths]
            if axis in by_axis and not by_axis[axis]:
                problems.append(f"{where}.{method}.{axis}: give at least one recipe")
    if problems:
        raise UserErrors("params.yaml: these ways of erasing cannot be tried:", list(dict.fromkeys(problems)))
    return found


@lru_cache(maxsize=4)
def load_places(saes: Path, moments: Path) -> Mapping[str, ConceptLatents]:
    """Every autoencoder in the folder `saes` with its concepts' means, by name. UserError when there is none."""
    folders = sorted(folder for folder in saes.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not folders:
        raise UserError(f"There is no autoencoder in {saes}; train some first.")
    return {
        folder.name: ConceptLatents(load_sae(folder), load_concept_moments(moments / f"{folder.name}.safetensors"))
        for folder in folders
    }


@dataclass(frozen=True, slots=True)
class LatentChanges:
    """Concepts changed one after the other, each seeing what those before it made, by latents from two folders.

    `saes`: autoencoders; `moments`: their concepts' means. Both are read where pictures are drawn.
    """

    saes: Path
    moments: Path
    concepts: tuple[ConceptChange, ...]

    def edits(self, model: LoadedModel) -> list[Edit]:
        """The edits on the model's own schedule."""
        places, steps = load_places(self.saes, self.moments), len(timesteps(model.pipeline, model.spec.steps))
        return [
            edit
            for one in self.concepts
            for edit in latent_edits(
                one.action, places, one.concept, one.recipe, one.strength, steps=steps, random=one.random
            )
        ]


def parse_candidates(params: Sequence[Mapping[str, Any]], where: str) -> list[Candidates]:
    """Recipes in their order. Raises UserErrors with every problem as `where.number.key: message`."""
    found: list[Candidates] = []
    problems: list[str] = []
    for number, values in enumerate(params):
        try:
            found.append(Candidates.model_validate(values))
        except ValidationError as error:
            problems += problems_at(error, where, number)
    if problems or not found:
        raise UserErrors("params.yaml: these recipes cannot be tried:", problems or [f"{where}: there is none"])
    return found
