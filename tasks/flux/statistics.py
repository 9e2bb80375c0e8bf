"""How often, how much and in which images each latent is active."""

from pathlib import Path
from typing import Annotated, Literal

from steerwright.dag import Dep, Out, Param
from steerwright.features.s_matrix import SMatrix
from steerwright.features.statistics import statistics as measure


def latent_statistics(
    matrix: Annotated[Path, Dep()],
    alive_above: Annotated[float, Param("/flux.features.alive_above")],
    statistic: Annotated[Literal["max", "mean", "top"], Param("/flux.features.statistic")],
    top: Annotated[int, Param()],
    statistics: Annotated[Path, Out("statistics.parquet")],
    best: Annotated[Path, Out("top.parquet")],
) -> None:
    """Count and rank, all latents at once."""
    found = measure(SMatrix.open(matrix), alive_above, top, statistic)
    found.latents.write_parquet(statistics)
    found.top.write_parquet(best)
