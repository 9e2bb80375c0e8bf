"""The table of prompts that `params.latents.prompts.suite` asks for, whatever kind it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from steerkit.errors import UserError, UserErrors
from steerkit.prompts.concept_grid import COLUMNS, ConceptGrid, concept_grid
from steerkit.prompts.prompt_lines import PromptLines, prompt_lines
from steerkit.prompts.unlearn_canvas import UnlearnCanvas, read_unlearn_canvas

if TYPE_CHECKING:
    import polars as pl

Suite = Annotated[ConceptGrid | UnlearnCanvas | PromptLines, Field(discriminator="kind")]


def parse_suite(
    values: Mapping[str, Any], where: str = "latents.prompts.suite"
) -> ConceptGrid | UnlearnCanvas | PromptLines:
    """The suite of a section of params.yaml; UserErrors with every problem as `where.key: message`."""
    try:
        return TypeAdapter[ConceptGrid | UnlearnCanvas | PromptLines](Suite).validate_python({"kind": "grid", **values})
    except ValidationError as error:
        problems = [f"{'.'.join([where, *map(str, e['loc'][1:])])}: {e['msg']}" for e in error.errors()]
        raise UserErrors("params.yaml: these prompts cannot be made:", problems) from None


def concept_prompts(suite: ConceptGrid | UnlearnCanvas | PromptLines, folder: Path) -> pl.DataFrame:
    """The prompts, from templates or files in `folder`; columns id, prompt, split, template, seed and one per axis."""
    match suite:
        case ConceptGrid():
            return concept_grid(suite, folder)
        case UnlearnCanvas():
            return read_unlearn_canvas(suite, folder)
        case PromptLines():
            return prompt_lines(suite, folder)


def read_concept_prompts(path: Path) -> pl.DataFrame:
    """The table that latents-prompts wrote; UserError when it is missing or is none."""
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"There is no {path}; run the stage that makes the prompts.") from None
    if missing := [column for column in COLUMNS if column not in frame.columns]:
        raise UserError(f"{path} has no column {' and no column '.join(missing)}; make the prompts again.")
    return frame
