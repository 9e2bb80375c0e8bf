"""Do the images in which a latent is most active resemble each other more than random ones?"""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.features.coherence import coherence as measure
from steerwright.features.s_matrix import SMatrix


def latent_coherence(
    images: Annotated[Path, Dep()],
    matrix: Annotated[Path, Dep()],
    embeddings: Annotated[Path, Dep()],
    alive_above: Annotated[float, Param("/flux.features.alive_above")],
    statistic: Annotated[Literal["max", "mean", "top"], Param("/flux.features.statistic")],
    most: Annotated[int, Param("/flux.features.most")],
    least: Annotated[int, Param("/flux.features.least")],
    draws: Annotated[int, Param()],
    seed: Annotated[int, Param()],
    coherence: Annotated[Path, Out("coherence.parquet")],
) -> None:
    """Coherence of every latent's best images of distinct prompts, against random sets of as many."""
    prompts = pl.read_parquet(images)["prompt_id"].to_list()
    measure(
        SMatrix.open(matrix).of(statistic), np.load(embeddings), prompts, alive_above=alive_above, most=most,
        least=least, draws=draws, seed=seed,
    ).write_parquet(coherence)  # fmt: skip
