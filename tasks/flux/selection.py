"""The latents that are shown: the most coherent ones, each in images of its own."""

from pathlib import Path
from typing import Annotated, Literal

import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.features.s_matrix import SMatrix
from steerwright.features.selection import select_features
from steerwright.sae.sae_file import load_sae


def select_latents(
    images: Annotated[Path, Dep()],
    matrix: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    coherence: Annotated[Path, Dep()],
    responses: Annotated[Path, Dep()],
    alive_above: Annotated[float, Param("/flux.features.alive_above")],
    statistic: Annotated[Literal["max", "mean", "top"], Param("/flux.features.statistic")],
    most: Annotated[int, Param("/flux.features.most")],
    count: Annotated[int, Param()],
    examples: Annotated[int, Param()],
    by: Annotated[Literal["z", "coherence"], Param()],
    responsiveness: Annotated[float, Param()],
    duplicates_above: Annotated[float | None, Param()],
    selected: Annotated[Path, Out("selected.parquet")],
) -> None:
    """Rank by coherence above chance, by `responsiveness` joined with how much steering by them changes pictures."""
    found = SMatrix.open(matrix)
    measured = dict(pl.read_parquet(responses).select("latent", "score").iter_rows())
    select_features(
        pl.read_parquet(coherence), found.of(statistic), pl.read_parquet(images)["prompt_id"].to_list(),
        alive_above=alive_above, count=count, examples=examples, most=most, by=by,
        responsiveness=measured if responsiveness else None, weight=responsiveness,
        directions=load_sae(saes / found.source.sae).decoder if duplicates_above is not None else None,
        duplicates_above=duplicates_above,
    ).write_parquet(selected)  # fmt: skip
