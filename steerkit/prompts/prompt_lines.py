"""Prompts as people keep them: a text file for each split, a prompt a line (captions of COCO, or one's own)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from steerkit.errors import UserErrors
from steerkit.prompts.concept import read_list
from steerkit.prompts.concept_grid import SPLITS, Axis, Split, hash_bits, prompt_schema, seeds

if TYPE_CHECKING:
    import polars as pl


class PromptLines(BaseModel):
    """What params.yaml says about prompts that stand in SPLIT.txt, a line each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["lines"] = "lines"
    counts: dict[Split, int | None] = Field(min_length=1, description="Lines by split; null: all of the file.")
    seed: int = Field(default=0, ge=0, description="Part of what every prompt's own seed is made from.")

    def columns(self) -> list[Axis]:
        """None: nothing is known of what the prompts say."""
        return []


def prompt_lines(asked: PromptLines, folder: Path) -> pl.DataFrame:
    """The prompts of the files in `folder`: columns id, prompt, split, template (the line, from 0), seed.

    Id and seed are made from the split and the text, so that lines more, less or in another order change no other
    prompt. Raises UserError for a missing or empty file, UserErrors for a prompt that stands in them twice.
    """
    import polars as pl

    rows: list[dict[str, object]] = []
    for split in SPLITS:
        if split in asked.counts:
            lines = read_list(folder, split)[: asked.counts[split]]
            rows += [
                {"id": f"{split}-{hash_bits(line, 52):013x}", "prompt": line, "split": split, "template": number}
                for number, line in enumerate(lines)
            ]
    _check_different([str(row["prompt"]) for row in rows], folder)
    for row, seed in zip(rows, seeds([str(row["id"]) for row in rows], asked.seed), strict=True):
        row["seed"] = seed
    return pl.DataFrame(rows, schema=prompt_schema([]))


def _check_different(prompts: Sequence[str], folder: Path) -> None:
    if twice := sorted(prompt for prompt, count in Counter(prompts).items() if count > 1):
        raise UserErrors(f"{folder} has prompts twice, in one file or in two; take them out:", list(map(repr, twice)))
