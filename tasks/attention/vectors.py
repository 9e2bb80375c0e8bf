"""Directions from what attention layers gave: one per block, branch and time bin."""

import json
from pathlib import Path
from typing import Annotated, Literal

import polars as pl

from steerwright.activations.attention_rows import moments_of_rows
from steerwright.activations.moments_file import Sums, load_moments, merged
from steerwright.activations.store.reader import open_store
from steerwright.dag import Dep, Out, Param, progress
from steerwright.models.attention_blocks import Attention, attention_blocks
from steerwright.models.load import load_model
from steerwright.models.schedule import timesteps
from steerwright.models.select import read_model
from steerwright.vectors.fit import vectors_from_moments
from steerwright.vectors.formats.vectors_file import save_vectors
from steerwright.vectors.statistics import vectors_table


def attention_vectors(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    activations: Annotated[Path, Dep()],
    attention: Annotated[list[Attention], Param("/attention.activations.attention")],
    keep: Annotated[Literal["moments", "rows"], Param("/attention.activations.keep")],
    shuffles: Annotated[int, Param("/attention.activations.shuffles")],
    bins: Annotated[int | None, Param()],
    vectors: Annotated[Path, Out("vectors")],
    geometry: Annotated[Path, Out("geometry.parquet")],
    norms: Annotated[
        Path,
        Out("norms.csv", kind="plots", template="heatmap", x="step_first", y="norm", title="Vector norms by step"),
    ],
) -> None:
    """Fit one steering vector for every block and time bin, and mark those that are noise."""
    spec, identity = read_model(model)
    loaded = load_model(spec, identity.digest)
    schedule = timesteps(loaded.pipeline, spec.steps)
    names = list(json.loads(prompts.read_text())["concepts"])
    vectors.mkdir(parents=True)
    tables = []
    for done, name in enumerate(names):
        progress(done, len(names), "concepts")
        folder = activations / name
        sums: Sums
        if keep == "rows":
            sums = moments_of_rows(open_store(folder), steps=len(schedule), shuffles=shuffles)
        else:
            sums = merged([load_moments(path) for path in sorted(folder.glob("*.safetensors"))]).sums
        found = vectors_from_moments(sums, concept=name, model=identity, timesteps=schedule, bins=bins)
        save_vectors(found, vectors / f"{name}.safetensors")
        table = vectors_table(found, attention_blocks(loaded.pipeline, attention))
        tables.append(table.with_columns(pl.lit(name).alias("concept")))
    joined = pl.concat(tables)
    joined.write_parquet(geometry)
    joined.select(
        "concept", "block", "attention", "branch", "step_first", "step_last", "norm", "control",
        pl.format("{}, {}, {}", "concept", "attention", "branch").alias("panel"), pl.col("block").alias("series"),
    ).write_csv(norms, float_precision=6)  # fmt: skip
    progress(len(names), len(names), "concepts")
