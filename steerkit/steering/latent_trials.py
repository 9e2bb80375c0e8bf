"""Steering towards a concept by its latents: what params.yaml says, and the candidates that it makes."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steerkit.errors import UserErrors
from steerkit.steering.latent_recipe import LatentRecipe


class Towards(BaseModel):
    """A recipe at several strengths, tried in this order on tuning prompts: the least first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: LatentRecipe
    strengths: tuple[float, ...] = Field(min_length=1)


def parse_towards(params: Sequence[Mapping[str, Any]], where: str) -> list[Towards]:
    """The recipes in their order. Raises UserErrors with every problem as `where.number.key: message`."""
    found: list[Towards] = []
    problems: list[str] = []
    for number, values in enumerate(params):
        given = {key: value for key, value in values.items() if key != "strengths"}
        try:
            found.append(Towards.model_validate({"recipe": given, "strengths": values.get("strengths", ())}))
        except ValidationError as error:
            problems += [
                f"{'.'.join([where, str(number), *(str(part) for part in e['loc'] if part != 'recipe')])}: {e['msg']}"
                for e in error.errors()
            ]
    if problems or not found:
        raise UserErrors("params.yaml: these recipes cannot be tried:", problems or [f"{where}: there is none"])
    return found
