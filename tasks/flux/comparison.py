"""Which latent of one layer does what a latent of the other does."""

import json
from pathlib import Path
from typing import Annotated, Literal

import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.features.matching import match_latents, match_summary
from steerwright.features.s_matrix import SMatrix
from steerwright.features.token_maps import TokenMaps
from steerwright.sae.sae_file import load_sae


def compare_layers(
    images: Annotated[Path, Dep()],
    matrices: Annotated[list[Path], Dep()],
    maps: Annotated[list[Path], Dep()],
    saes: Annotated[list[Path], Dep()],
    alive_above: Annotated[float, Param("/flux.features.alive_above")],
    statistic: Annotated[Literal["max", "mean", "top"], Param("/flux.features.statistic")],
    by: Annotated[Literal["correlation", "cosine"], Param()],
    shuffles: Annotated[int, Param()],
    seed: Annotated[int, Param()],
    matches: Annotated[Path, Out("matches.parquet")],
    summary: Annotated[Path, Out("summary.json")],
) -> None:
    """Pair the latents of two layers by their activations over the same images, against shuffled images."""
    a, b = (SMatrix.open(folder) for folder in matrices)
    first, second = (load_sae(folder / one.source.sae) for folder, one in zip(saes, (a, b), strict=True))
    directions = (first.decoder, second.decoder) if first.width == second.width else None
    found = match_latents(a, b, by=by, directions=directions, alive_above=alive_above, statistic=statistic)
    found.write_parquet(matches)
    said = match_summary(
        found, a, b, pl.read_parquet(images)["prompt_id"].to_list(),
        maps=(TokenMaps.open(maps[0]), TokenMaps.open(maps[1])), alive_above=alive_above, statistic=statistic,
        shuffles=shuffles, seed=seed,
    )  # fmt: skip
    summary.write_text(json.dumps(said, indent=1, sort_keys=True) + "\n")
