"""Directions of every concept at every layer, and what they are like."""

import json
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
import torch

from steerwright.activations.residuals import pooled_texts
from steerwright.activations.store.reader import open_store
from steerwright.dag import Dep, Out, Param, progress
from steerwright.models.language.select import read_language_model
from steerwright.vectors.estimators.registry import EstimatorName
from steerwright.vectors.formats.vectors_file import save_vectors
from steerwright.vectors.language import (
    Contrast,
    contrast_texts,
    described_policy,
    mean_of_others,
    pair_sides,
    residual_vectors,
)
from steerwright.vectors.residual_statistics import cosine_table, statistics_table


def language_vectors(
    model: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    activations: Annotated[Path, Dep()],
    contrast: Annotated[Contrast, Param("/language.activations.contrast")],
    estimator: Annotated[EstimatorName, Param()],
    tokens: Annotated[str, Param()],
    centre: Annotated[Literal["none", "others"], Param()],
    shuffles: Annotated[int, Param()],
    vectors: Annotated[Path, Out("vectors")],
    statistics: Annotated[Path, Out("statistics.parquet")],
    cosines: Annotated[Path, Out("cosines.parquet")],
    separability: Annotated[
        Path,
        Out(
            "separability.csv",
            kind="plots",
            template="lines",
            x="layer",
            y="separability",
            title="Held-out separability by layer",
        ),
    ],
) -> None:
    """Fit one steering vector for every concept and layer, and measure how well it tells held-out pairs apart."""
    _, identity = read_language_model(model)
    store = open_store(activations)
    content = json.loads(pairs.read_text())
    ids = list(contrast_texts(content, contrast))
    rows = torch.stack([pooled_texts(store, hookpoint, ids, tokens) for hookpoint in store.hookpoints])
    sides = pair_sides(rows, ids, content)
    differences = {name: positive.mean(1) - negative.mean(1) for name, (positive, negative) in sides.items()}
    vectors.mkdir(parents=True)
    found, tables = {}, []
    for done, (name, concept) in enumerate(content.items()):
        progress(done, len(content), "concepts")
        positive, negative = sides[name]
        others = mean_of_others(differences, name) if centre == "others" else None
        found[name] = residual_vectors(
            positive, negative, store.hookpoints, concept=name, model=identity, estimator=estimator,
            policy=described_policy(contrast, tokens), others=others, shuffles=shuffles,
        )  # fmt: skip
        save_vectors(found[name], vectors / f"{name}.safetensors")
        tables.append(
            statistics_table(
                found[name], positive, negative, factor=concept["factor"], estimator=estimator, others=others
            )
        )
    table = pl.concat(tables)
    table.write_parquet(statistics)
    cosine_table(found).write_parquet(cosines)
    table.select(
        "concept", "layer", "separability", pl.col("factor").alias("panel"), pl.col("concept").alias("series")
    ).write_csv(separability, float_precision=6)
    progress(len(content), len(content), "concepts")
