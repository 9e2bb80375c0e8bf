"""Which label of the pictures each latent stands for."""

from pathlib import Path
from typing import Annotated, Literal

import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.features.labels import ASKED, label_columns, label_matches
from steerwright.features.s_matrix import SMatrix
from steerwright.report.flux.content import empty


def label_latents(
    images: Annotated[Path, Dep()],
    matrix: Annotated[Path, Dep()],
    statistic: Annotated[Literal["max", "mean", "top"], Param("/flux.features.statistic")],
    least: Annotated[int, Param()],
    shuffles: Annotated[int, Param()],
    seed: Annotated[int, Param()],
    labels: Annotated[Path, Out("labels.parquet")],
) -> None:
    """Area under the ROC curve of every latent for every value of every label; the best one is the latent's."""
    table = pl.read_parquet(images)
    names = label_columns(table)
    if not names:
        # Prompts of one's own say nothing that could be checked.
        empty("labels").write_parquet(labels)
        return
    shown = table.select(pl.col(name).alias(name.removeprefix(ASKED)) for name in names)
    label_matches(
        SMatrix.open(matrix).of(statistic), shown, table["prompt_id"].to_list(), least=least, shuffles=shuffles,
        seed=seed,
    ).write_parquet(labels)  # fmt: skip
