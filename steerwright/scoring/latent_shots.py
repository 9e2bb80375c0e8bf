"""The pictures of erasing on disk: which there are, and where."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steerwright.errors import UserError
from steerwright.images import load_images
from steerwright.scoring.unlearning import TIMINGS, UNSTEERED

REFERENCE = "reference"
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
