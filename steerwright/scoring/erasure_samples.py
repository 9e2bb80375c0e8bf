"""Which pictures show whether concepts are erased: prompts that name them and prompts that do not, with their seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steerwright.errors import UserError
from steerwright.images import Sample, load_images
from steerwright.prompts.concept_table import evenly

if TYPE_CHECKING:
    import polars as pl

UNSTEERED = "unsteered"
STEERED = "steered"
"""The method that is searched for the least edit; the others stand beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureSample(Sample):
    """One picture that shows whether concepts are erased; `target` is None for unsteered ones."""

    target: str | None
    method: str
    strength: float
    prompt_id: str


def concepts_of(prompts: "pl.DataFrame", targets: Sequence[str], axes: Sequence[str]) -> list[str]:
    """The concepts (`season:winter`) that `targets` name: single ones, or axes, which stand for all of their values.

    Raises UserError for an axis that is not among `axes`, and for a value that no prompt names.
    """
    found: list[str] = []
    for target in targets:
        axis, _, value = target.partition(":")
        if axis not in axes or axis not in prompts.columns:
            raise UserError(f"There is no axis {axis!r} to erase {target!r} from; there are {', '.join(axes)}.")
        values = prompts[axis].drop_nulls().unique(maintain_order=True).to_list()
        if value and value not in values:
            raise UserError(f"No prompt names {target!r}; they name {', '.join(f'{axis}:{one}' for one in values)}.")
        found += [f"{axis}:{one}" for one in ([value] if value else values)]
    return list(dict.fromkeys(found))


def named_rows(prompts: "pl.DataFrame", target: str) -> list[bool]:
    """For each prompt whether it names a concept of `target`."""
    concepts = ErasureTarget.parse(target).concepts
    return [any(row[axis] == value for axis, value in concepts) for row in prompts.iter_rows(named=True)]


def tuning_rows(prompts: "pl.DataFrame", target: str, named: int, others: int) -> list[int]:
    """Rows of at most `named` prompts that name `target` and `others` that do not, evenly over their order.

    Raises UserError when no prompt names it.
    """
    names = named_rows(prompts, target)
    having = [row for row, name in enumerate(names) if name]
    if not having:
        raise UserError(f"No tuning prompt names {target!r}, so nothing can be chosen for it; add some.")
    return sorted(evenly(having, named) + evenly([row for row, name in enumerate(names) if not name], others))


def unsteered_samples(prompts: "pl.DataFrame", seeds: Sequence[int]) -> list[ErasureSample]:
    """Every prompt with every seed; `seeds` are added to the prompt's own, so 0 is that one."""
    return [
        ErasureSample(
            target=None,
            method=UNSTEERED,
            strength=0.0,
            prompt_id=row["id"],
            prompt=row["prompt"],
            seed=row["seed"] + seed,
            path=f"{UNSTEERED}/{row['id']}-{seed}.png",
        )
        for row in prompts.select("id", "prompt", "seed").iter_rows(named=True)
        for seed in seeds
    ]


def steered_samples(
    unsteered: Sequence[ErasureSample], target: str, method: str, strength: float, acts: Mapping[str, bool] | None
) -> list[ErasureSample]:
    """The same prompts and seeds under an edit. Where `acts` says, by the unsteered picture's path, that the edit does
    not act, the picture is the unsteered one."""
    folder = f"{target.replace(' + ', '+').replace(':', '-')}/{method}"
    return [
        replace(
            one, target=target, method=method, strength=strength,
            path=one.path if acts is not None and not acts[one.path] else f"{folder}/{one.path.partition('/')[2]}",
        )
        for one in unsteered
    ]  # fmt: skip


# The pictures of erasing on disk: which there are, and where.

REFERENCE = "reference"
TIMINGS = ("target", "method", "strength", "seconds_per_picture")
COLUMNS = ("target", "method", "strength", "operating", "prompt_id", "prompt", "seed", "path")


def read_shots(path: Path) -> pl.DataFrame:
    """The table of pictures: target (null: no edit), method (`unsteered`, `reference`, or what was done), strength,
    operating, prompt_id, prompt, seed, path (within the folder of pictures). UserError if it is none."""
    try:
        table = pl.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"There is no {path}; run the stage that makes the pictures.") from None
    if missing := [column for column in COLUMNS if column not in table.columns]:
        raise UserError(f"{path} has no column {' and no column '.join(missing)}; make the pictures again.")
    return table.with_columns(
        pl.col("target").cast(pl.String), pl.col("prompt_id").cast(pl.String), pl.col("strength").cast(pl.Float64)
    )


def scored_shots(shots: pl.DataFrame) -> pl.DataFrame:
    """The pictures that count, the unsteered ones first."""
    scored = shots.filter(pl.col("method") != REFERENCE)
    return pl.concat([scored.filter(method=UNSTEERED), scored.filter(pl.col("method") != UNSTEERED)])


def reference_shots(shots: pl.DataFrame) -> pl.DataFrame:
    """Unsteered pictures that say what a sound one looks like: those of other prompts, else the scored ones."""
    reference = shots.filter(method=REFERENCE)
    return reference if reference.height else shots.filter(method=UNSTEERED)


def timings(shots: pl.DataFrame) -> pl.DataFrame | None:
    """Seconds a picture of every condition, where the table says how long its pictures took (`seconds_per_picture`)."""
    if "seconds_per_picture" not in shots.columns:
        return None
    return shots.group_by(TIMINGS[:3], maintain_order=True).agg(pl.col(TIMINGS[3]).mean()).drop_nulls(TIMINGS[3])


def load_pictures(folder: Path, names: Sequence[str]) -> NDArray[np.uint8]:
    """Pixels [n, H, W, 3] of the files `names` in `folder`. UserError for a picture that is not there."""
    return load_images([folder / name for name in names])


# What is erased: one concept of an axis, such as `season:winter`, or several together.

TOGETHER = " + "


@dataclass(frozen=True, slots=True)
class ErasureTarget:
    """Concepts (axis, value) that one edit erases together, in order; nearly always one."""

    concepts: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> "ErasureTarget":
        """From `season:winter`, or `season:winter + object:car`. UserError for anything else."""
        found: list[tuple[str, str]] = []
        for part in text.split(TOGETHER):
            axis, colon, value = part.strip().partition(":")
            if not (axis and colon and value) or (axis, value) in found:
                raise UserError(
                    f"{text!r} names no target of erasing; write axis:value, such as season:winter, "
                    f"several different ones with {TOGETHER.strip()!r} between them."
                )
            found.append((axis, value))
        return cls(tuple(found))

    def __str__(self) -> str:
        return TOGETHER.join(f"{axis}:{value}" for axis, value in self.concepts)

    def __len__(self) -> int:
        return len(self.concepts)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that the concepts belong to, each once."""
        return tuple(dict.fromkeys(axis for axis, _ in self.concepts))

    def values(self, axis: str) -> tuple[str, ...]:
        """The values of `axis` that are erased."""
        return tuple(value for named, value in self.concepts if named == axis)
