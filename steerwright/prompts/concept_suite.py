"""The table of prompts that `params.latents.prompts.suite` asks for, whatever kind it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from steerwright.errors import UserError, UserErrors, problems_at
from steerwright.prompts.concept_grid import Axis, ConceptGrid, concept_grid, spread
from steerwright.prompts.concept_table import SPLITS, Split, hash_bits, prompt_schema, seeds
from steerwright.prompts.concepts import read_list
from steerwright.text_file import read_text_file, text_lines

if TYPE_CHECKING:
    import polars as pl


# Prompts as people keep them: a text file for each split, a prompt a line (captions of COCO, or one's own).


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


# UnlearnCanvas' prompt files as the same table that a grid of our own gives: objects crossed with styles.
#
# The files are those of arXiv:2402.11846, `sd_prompt_{Concept}.txt`, one prompt a line, eighty for each of twenty
# objects; in a style a prompt ends with ", {style} style", as arXiv:2501.18052 collects them.

_PREFIX, _SUFFIX = "sd_prompt_", ".txt"

STYLES = (
    "Abstractionism", "Artist_Sketch", "Blossom_Season", "Bricks", "Byzantine", "Cartoon", "Cold_Warm",
    "Color_Fantasy", "Comic_Etch", "Crayon", "Cubism", "Dadaism", "Dapple", "Defoliation", "Early_Autumn",
    "Expressionism", "Fauvism", "French", "Glowing_Sunset", "Gorgeous_Love", "Greenfield", "Impressionism", "Ink_Art",
    "Joy", "Liquid_Dreams", "Magic_Cube", "Meta_Physics", "Meteor_Shower", "Monet", "Mosaic", "Neon_Lines", "On_Fire",
    "Pastel", "Pencil_Drawing", "Picasso", "Pop_Art", "Red_Blue_Ink", "Rust", "Sketch", "Sponge_Dabbed",
    "Structuralism", "Superstring", "Surrealism", "Ukiyoe", "Van_Gogh", "Vibrant_Flow", "Warm_Love", "Warm_Smear",
    "Watercolor", "Winter",
)  # fmt: skip
"""The fifty styles of the benchmark ("Seed_Images", which stands for none, left out)."""


class UnlearnCanvas(BaseModel):
    """What params.yaml says about prompts that come from UnlearnCanvas' files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["unlearn_canvas"] = "unlearn_canvas"
    objects: list[str] | None = Field(default=None, description="Concepts of the files; null: every file there is.")
    styles: list[str] = Field(default=list(STYLES), description="Styles; underscores are said as spaces.")
    unstyled: bool = Field(default=True, description="Also every prompt without a style.")
    prompts: int | None = Field(default=None, ge=1, description="Lines of each file that are taken; null: all.")
    styles_per_prompt: int | None = Field(default=None, ge=1, description="Evenly over the styles; null: all of them.")
    shares: dict[Split, float] = Field(
        default={"train": 0.8, "validation": 0.05, "tuning": 0.05, "test": 0.1},
        description="Share of the lines that goes to each split.",
    )
    seed: int = Field(default=0, ge=0, description="Part of what splits and every prompt's own seed are made from.")

    @field_validator("shares")
    @classmethod
    def _whole(cls, shares: dict[Split, float]) -> dict[Split, float]:
        if any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError("shares are numbers from 0 up that add up to 1")
        return shares

    def columns(self) -> list[Axis]:
        """The axes; objects only where they are listed."""
        return [Axis("object", tuple(self.objects or ()), {}), Axis("style", tuple(self.styles), {})]


def read_unlearn_canvas(asked: UnlearnCanvas, folder: Path) -> pl.DataFrame:
    """The prompts of the files in `folder`: columns id, prompt, split, template (the line), seed, object, style.

    A line and all its styles are in one split, by a hash of the concept and the line's text, so that lines, files and
    styles more or less move no other. `style` is null for unstyled prompts.

    Raises UserError when there is no such file or a file is empty, not UTF-8 or has a line twice.
    """
    import polars as pl

    objects = asked.objects if asked.objects is not None else _found(folder)
    rows: list[dict[str, object]] = []
    for concept in objects:
        for number, line in enumerate(_lines(folder, concept)[: asked.prompts]):
            split = _split(asked, concept, line)
            count = min(asked.styles_per_prompt or len(asked.styles), len(asked.styles))
            order = list(spread(len(asked.styles), hash_bits(line, 32)))[:count]
            styles: list[str | None] = [asked.styles[place] for place in sorted(order)]
            for style in [None, *styles] if asked.unstyled else styles:
                text = line if style is None else f"{line}, {style.replace('_', ' ')} style"
                id_ = f"{concept}-{number:03d}-{style or 'none'}".replace(" ", "_")
                rows.append(
                    {"id": id_, "prompt": text, "split": split, "template": number, "object": concept, "style": style}
                )
    for row, seed in zip(rows, seeds([str(row["id"]) for row in rows], asked.seed), strict=True):
        row["seed"] = seed
    frame = pl.DataFrame(rows, schema=prompt_schema(["object", "style"]))
    # By split, as the other tables: shards are groups of one split.
    place = pl.col("split").replace_strict({split: number for number, split in enumerate(SPLITS)}, return_dtype=pl.Int8)
    return frame.sort(place, maintain_order=True)


def _found(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"))
    if not names:
        raise UserError(f"{folder} has no file {_PREFIX}CONCEPT{_SUFFIX}; put UnlearnCanvas' anchor prompts there.")
    return [name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for name in names]


def _lines(folder: Path, concept: str) -> list[str]:
    path = folder / f"{_PREFIX}{concept}{_SUFFIX}"
    try:
        lines = [line.strip() for line in text_lines(read_text_file(path)) if line.strip()]
    except FileNotFoundError:
        raise UserError(f"There is no {path}; there are {', '.join(_found(folder))}.") from None
    if not lines:
        raise UserError(f"{path} is empty; each line is a prompt.")
    if twice := sorted({line for line in lines if lines.count(line) > 1}):
        raise UserErrors(f"{path} has prompts twice; take them out:", [repr(line) for line in twice])
    return lines


def _split(asked: UnlearnCanvas, concept: str, line: str) -> Split:
    place, at = hash_bits(f"{asked.seed}/{concept}/{line}", 53) / 2**53, 0.0
    for split in SPLITS:
        at += asked.shares.get(split, 0.0)
        if place < at:
            return split
    return next(split for split in reversed(SPLITS) if asked.shares.get(split, 0.0))


Suite = Annotated[ConceptGrid | UnlearnCanvas | PromptLines, Field(discriminator="kind")]


def parse_suite(
    values: Mapping[str, Any], where: str = "latents.prompts.suite"
) -> ConceptGrid | UnlearnCanvas | PromptLines:
    """The suite of a section of params.yaml; UserErrors with every problem as `where.key: message`."""
    try:
        return TypeAdapter[ConceptGrid | UnlearnCanvas | PromptLines](Suite).validate_python({"kind": "grid", **values})
    except ValidationError as error:
        problems = problems_at(error, where, skip=1)
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
