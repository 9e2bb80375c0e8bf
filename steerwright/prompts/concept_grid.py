"""Prompts for concepts and styles: every combination of the values of some axes, in many wordings.

After UnlearnCanvas (arXiv:2402.11846) and SAeUron (arXiv:2501.18052), which cross objects with styles; here the axes
are whatever a world has, a template may leave axes out, and every prompt starts from noise of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from steerwright.errors import UserError, UserErrors
from steerwright.prompts.concept_table import COLUMNS, SPLITS, Split, hash_bits, prompt_schema, seeds
from steerwright.prompts.concepts import read_list

if TYPE_CHECKING:
    import polars as pl

_FIELD = re.compile(r"{(\w+)}")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ARTICLE = "a"


@dataclass(frozen=True, slots=True)
class Axis:
    """What prompts differ in (`season`), and its values; each is a concept, named `season:winter`.

    `phrases` is how prompts say a value, one or another; a value without any is said as it is called.
    """

    name: str
    values: tuple[str, ...]
    phrases: Mapping[str, tuple[str, ...]]

    @property
    def concepts(self) -> tuple[str, ...]:
        return tuple(concept_name(self.name, value) for value in self.values)

    def phrase(self, value: str, number: int) -> str:
        """One of the ways of saying `value`, chosen by any number."""
        said = self.phrases.get(value) or (value,)
        return said[number % len(said)]


def concept_name(axis: str, value: str) -> str:
    """The name of a concept: `season:winter`."""
    return f"{axis}:{value}"


class ConceptGrid(BaseModel):
    """What params.yaml says about a grid of prompts.

    Axes and contexts are lists of values, or map each value to the ways of saying it. The templates of a split are the
    lines of SPLIT.txt; `counts` says how many prompts of a split are taken, template by template.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["grid"] = "grid"
    axes: dict[str, list[str] | dict[str, list[str]]] = Field(min_length=1, description="Crossed with one another.")
    contexts: dict[str, list[str] | dict[str, list[str]]] = Field(
        default={}, description="Said where a template has room for them, a value for each prompt; not crossed."
    )
    counts: dict[Split, int] = Field(min_length=1, description="Prompts by split.")
    seed: int = Field(default=0, ge=0, description="Part of what every prompt's own seed is made from.")

    @field_validator("counts")
    @classmethod
    def _at_least_one(cls, counts: dict[Split, int]) -> dict[Split, int]:
        if any(count < 0 for count in counts.values()) or not any(counts.values()):
            raise ValueError("counts are whole numbers from 0 up, and not all 0")
        return counts

    @model_validator(mode="after")
    def _named(self) -> ConceptGrid:
        for name, values in {**self.axes, **self.contexts}.items():
            if not _NAME.fullmatch(name) or name in (*COLUMNS, _ARTICLE):
                raise ValueError(f"{name!r} cannot be the name of an axis or context; take small letters, no column's")
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} needs values, each once")
        if both := set(self.axes) & set(self.contexts):
            raise ValueError(f"{', '.join(sorted(both))}: an axis or a context, not both")
        return self

    def columns(self) -> list[Axis]:
        """The axes, then the contexts."""
        return [_axis(name, values) for name, values in {**self.axes, **self.contexts}.items()]


def concept_grid(grid: ConceptGrid, folder: Path) -> pl.DataFrame:
    """The prompts of `grid` with the templates of `folder`: columns id, prompt, split, template, seed, one per axis.

    A template is a sentence with `{object}`, `{season}` ... where values go, and `{a}` for the article of the word
    that follows. It is crossed with the values of the axes that it names; columns of those it does not name are null.
    The split is the template's; contexts, phrases and `seed` are made from the id alone; and higher counts or more
    templates at the end of a list only append: what was there keeps its id, text, split, seed and order within its
    split. Any first part of a template's prompts has all values about equally often.

    Raises UserError for a list that is missing, for counts beyond what templates and values give, and for a prompt that
    two templates make.
    """
    import polars as pl

    axes = [_axis(name, values) for name, values in grid.axes.items()]
    contexts = [_axis(name, values) for name, values in grid.contexts.items()]
    rows: list[dict[str, object]] = []
    for split in SPLITS:
        wanted = grid.counts.get(split, 0)
        if not wanted:
            continue
        templates = read_list(folder, split)
        made = [row for number, text in enumerate(templates) for row in _filled(text, number, split, axes, contexts)]
        if len(made) < wanted:
            raise UserError(
                f"{wanted} {split} prompts are asked for, but the {len(templates)} templates of {folder / split}.txt "
                f"give {len(made)}; add templates there, or lower counts.{split}."
            )
        rows += made[:wanted]
    _check_different(rows)
    for row, seed in zip(rows, seeds([str(row["id"]) for row in rows], grid.seed), strict=True):
        row["seed"] = seed
    return pl.DataFrame(rows, schema=prompt_schema(axis.name for axis in (*axes, *contexts)))


def spread(count: int, turn: int = 0) -> Iterator[int]:
    """0 to count - 1 in an order any first part of which lies evenly over them; another start for each `turn`."""
    step = next((s for s in range(max(1, round(count * 0.618)), count) if math.gcd(s, count) == 1), 1)
    for number in range(count):
        yield (turn + number * step) % count


def _axis(name: str, values: Sequence[str] | Mapping[str, Sequence[str]]) -> Axis:
    phrases = {value: tuple(said) for value, said in values.items()} if isinstance(values, Mapping) else {}
    return Axis(name, tuple(values), phrases)


def _filled(
    template: str, number: int, split: Split, axes: Sequence[Axis], contexts: Sequence[Axis]
) -> Iterator[dict[str, object]]:
    fields = set(_FIELD.findall(template)) - {_ARTICLE}
    known = {axis.name: axis for axis in (*axes, *contexts)}
    if unknown := fields - set(known):
        raise UserError(
            f"The {split} template {template!r} has a place for {', '.join(sorted(unknown))}, which is neither an axis "
            f"nor a context; there are {', '.join(known)}, and {{a}}."
        )
    crossed = [axis for axis in axes if axis.name in fields]
    combinations = list(product(*(axis.values for axis in crossed)))
    for place in spread(len(combinations), number):
        chosen = dict(zip((axis.name for axis in crossed), combinations[place], strict=True))
        id_ = "-".join([f"{split}{number}", *(value.replace(" ", "_") for value in chosen.values())])
        for context in contexts:
            if context.name in fields:
                # By a hash of the id: a value more or less of another axis does not move it.
                chosen[context.name] = context.values[hash_bits(f"{context.name}/{id_}", 53) % len(context.values)]
        said = {name: known[name].phrase(value, hash_bits(f"{name}={id_}", 53)) for name, value in chosen.items()}
        yield {"id": id_, "prompt": _worded(template, said), "split": split, "template": number, **chosen}


def _worded(template: str, said: Mapping[str, str]) -> str:
    text = _FIELD.sub(lambda match: said.get(match[1], match[0]), template)
    return re.sub(r"{a} (?=(\w))", lambda match: f"{'an' if match[1].lower() in 'aeiou' else 'a'} ", text)


def _check_different(rows: Sequence[Mapping[str, object]]) -> None:
    seen: dict[str, Mapping[str, object]] = {}
    problems = []
    for row in rows:
        first = seen.setdefault(str(row["prompt"]).casefold(), row)
        if first is not row:
            problems.append(f"{row['prompt']!r} is {first['id']} and {row['id']}")
    if problems:
        raise UserErrors("Templates make the same prompt twice; reword one of them:", problems[:20])
