"""Directions of every concept at every layer, and what they are like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from steerwright.activations.residuals import pooled_texts
from steerwright.activations.store.reader import open_store
from steerwright.dag import Dep, Out, Param, progress
from steerwright.models.language.spec import read_language_model
from steerwright.stats.ranks import auroc_of
from steerwright.vectors.estimators.registry import EstimatorName
from steerwright.vectors.formats.vectors_file import save_vectors
from steerwright.vectors.language import (
    Contrast,
    contrast_texts,
    described_policy,
    held_out_scores,
    mean_of_others,
    pair_sides,
    residual_vectors,
)
from steerwright.vectors.statistics import layer_statistics
from steerwright.vectors.steering_vectors import SteeringVectors, layer_number

if TYPE_CHECKING:
    import polars as pl


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


# What vectors of the residual stream are like: lengths, how well they tell held-out texts apart, likeness.


def separability(
    positive: Tensor, negative: Tensor, estimator: EstimatorName = "mean_difference", others: Tensor | None = None
) -> float:
    """Area under the ROC curve of held-out texts, positive against negative, both [pairs, d] at one layer.

    The share of (positive, negative) couples that a direction fitted without them puts in the right order; 0.5 tells
    nothing. NaN where there are too few pairs to hold one out.
    """
    scores = torch.cat(held_out_scores(positive, negative, estimator, others)).numpy()
    if np.isnan(scores).any():
        return float("nan")
    return auroc_of(scores, np.arange(len(scores)) < len(positive))


def statistics_table(
    vectors: SteeringVectors,
    positive: Tensor,
    negative: Tensor,
    *,
    factor: str,
    estimator: EstimatorName = "mean_difference",
    others: Tensor | None = None,
) -> pl.DataFrame:
    """One row per layer; `positive`, `negative` [layers, pairs, d], `estimator`, `others`: what made the `vectors`.

    Columns: concept, factor, layer, hookpoint, norm (distance of the sides along the direction), relative_norm (norm
    over residual_norm, the mean norm of the texts' rows), control (norm of the longest direction of swapped sides, null
    where not measured), noise (no longer than that; null without a control), separability, pairs, and mean, std, low,
    high and small_share as in `LayerStatistics`.
    """
    import polars as pl

    norms = torch.cat([positive, negative], 1).double().norm(dim=-1).mean(1)
    layers = [layer_number(slot.hookpoint) for slot in vectors.directions]
    described = layer_statistics(
        vectors, {layer: float(norm) for layer, norm in zip(layers, norms, strict=True) if layer is not None}
    )
    by_layer = {one.layer: one for one in described}
    rows = []
    for layer, (slot, above, below, norm) in enumerate(zip(vectors.directions, positive, negative, norms, strict=True)):
        values = by_layer[layer_number(slot.hookpoint) or 0]
        rows.append(
            {
                "concept": vectors.concept, "factor": factor, "layer": values.layer, "hookpoint": str(slot.hookpoint),
                "norm": values.norm, "relative_norm": values.relative_norm, "residual_norm": float(norm),
                "control": vectors.controls.get(slot), "noise": vectors.noise_mark(slot),
                "separability": separability(above, below, estimator, None if others is None else others[layer]),
                "pairs": len(above), "mean": values.mean, "std": values.std, "low": values.low, "high": values.high,
                "small_share": values.small_share,
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"control": pl.Float64, "noise": pl.Boolean})


def cosine_table(concepts: Mapping[str, SteeringVectors]) -> pl.DataFrame:
    """concept, other, layer, cosine: between the directions of every two concepts at each layer, both ways and itself.

    All have the same slots, as those of one run do.
    """
    import polars as pl

    names = list(concepts)
    rows = []
    for slot in next(iter(concepts.values())).directions:
        units = torch.stack([concepts[name].directions[slot].unit.double() for name in names])
        layer, table = layer_number(slot.hookpoint), (units @ units.T).tolist()
        rows += [
            {"concept": one, "other": other, "layer": layer, "cosine": cosine}
            for one, cosines in zip(names, table, strict=True)
            for other, cosine in zip(names, cosines, strict=True)
        ]
    return pl.DataFrame(rows, schema_overrides={"layer": pl.Int64})
