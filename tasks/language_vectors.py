"""Directions of every concept at every layer, and what they are like."""

import json
from pathlib import Path
from typing import Annotated

import polars as pl
import torch

from steerkit.activations.pooled_texts import pooled_texts
from steerkit.activations.store import open_store
from steerkit.dag import Dep, Out, Param, progress
from steerkit.models.language.select import read_language_model
from steerkit.vectors.estimator import EstimatorName
from steerkit.vectors.residual_statistics import cosine_table, statistics_table
from steerkit.vectors.residual_vectors import residual_vectors
from steerkit.vectors.vectors_file import save_vectors


def language_vectors(
    model: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    activations: Annotated[Path, Dep()],
    estimator: Annotated[EstimatorName, Param()],
    tokens: Annotated[str, Param()],
    shuffles: Annotated[int, Param()],
    vectors: Annotated[Path, Out("vectors")],
    statistics: Annotated[Path, Out("statistics.parquet")],
    cosines: Annotated[Path, Out("cosines.parquet")],
    separability: Annotated[
        Path,
        Out("separability.csv", kind="plots", x="layer", y="separability", title="Held-out separability by layer"),
    ],
) -> None:
    """Fit one steering vector for every concept and layer, and measure how well it tells held-out pairs apart."""
    _, identity = read_language_model(model)
    store = open_store(activations)
    content = json.loads(pairs.read_text())
    sides = {
        f"{pair['id']}:{side}": None
        for concept in content.values()
        for pair in concept["pairs"]
        for side in ("positive", "negative")
    }
    ids = list(sides)
    rows = torch.stack([pooled_texts(store, hookpoint, ids, tokens) for hookpoint in store.hookpoints])
    place = {id_: number for number, id_ in enumerate(ids)}
    vectors.mkdir(parents=True)
    found, tables = {}, []
    for done, (name, concept) in enumerate(content.items()):
        progress(done, len(content), "concepts")
        positive, negative = (
            rows[:, [place[f"{pair['id']}:{side}"] for pair in concept["pairs"]]] for side in ("positive", "negative")
        )
        found[name] = residual_vectors(
            positive, negative, store.hookpoints, concept=name, model=identity, policy=tokens, estimator=estimator,
            shuffles=shuffles,
        )  # fmt: skip
        save_vectors(found[name], vectors / f"{name}.safetensors")
        tables.append(statistics_table(found[name], positive, negative, factor=concept["factor"]))
    table = pl.concat(tables)
    table.write_parquet(statistics)
    cosine_table(found).write_parquet(cosines)
    table.select("concept", "layer", "separability").write_csv(separability, float_precision=6)
    progress(len(content), len(content), "concepts")
