"""Sparse autoencoders on the rows that were collected, or on rows that the model gives while it generates."""

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl

from steerkit.activations.shard_plan import collected_prompts, parse_collection
from steerkit.activations.store import open_store
from steerkit.dag import Dep, Out, Param, code_digest, progress
from steerkit.errors import UserError
from steerkit.models.load import default_device, load_model
from steerkit.models.select import read_model
from steerkit.prompts.concept_suite import read_concept_prompts
from steerkit.sae.quality import quality_table
from steerkit.sae.row_source import ModelSource, RowSource, StoreSource
from steerkit.sae.sae_file import save_sae
from steerkit.sae.train import train_saes
from steerkit.sae.training_plan import parse_training

WORK = ".training"


def train_sae(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    activations: Annotated[Path | None, Dep()],
    collection: Annotated[dict[str, Any], Param("/latents.activations")],
    source: Annotated[Literal["store", "model"], Param()],
    saes: Annotated[dict[str, Any], Param()],
    rows: Annotated[int, Param()],
    batch_rows: Annotated[int, Param()],
    pool_rows: Annotated[int, Param()],
    checkpoint_rows: Annotated[int, Param()],
    seed: Annotated[int, Param()],
    trained: Annotated[Path, Out("saes", resume=True)],
    quality: Annotated[Path, Out("quality.parquet")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
    curves: Annotated[Path, Out("curves", kind="plots", x="step")],
) -> None:
    """Train all autoencoders from one stream of rows, and measure them on the validation prompts."""
    found = _source(source, model, prompts, activations, collection)
    planned, amounts = parse_training(
        saes,
        {
            "rows": rows, "batch_rows": batch_rows, "pool_rows": pool_rows, "checkpoint_rows": checkpoint_rows,
            "seed": seed,
        },
        found.hookpoints,
    )  # fmt: skip
    hookpoints = list(dict.fromkeys(one.hookpoint for one in planned.values()))
    with closing(found.stream(hookpoints, amounts)) as stream:
        done = train_saes(
            stream, planned, trained / WORK, rows=rows, batch_rows=batch_rows, checkpoint_rows=checkpoint_rows,
            sites={hookpoint: found.site(hookpoint) for hookpoint in hookpoints}, device=default_device(),
            code=code_digest(), progress=lambda here, total: progress(here, total, "rows"),
        )  # fmt: skip
    table = quality_table({name: (sae, found.held_out(planned[name].hookpoint, amounts))
                           for name, sae in done.saes.items()})  # fmt: skip
    measured = {name: _numbers(table, name) for name in done.saes}
    for name, sae in done.saes.items():
        facts = {"config": planned[name].config.model_dump(mode="json"), "rows": rows, "batch_rows": batch_rows,
                 "held_out": measured[name]}  # fmt: skip
        save_sae(sae, trained / name, facts)
    done.curves.write(curves)
    table.write_parquet(quality)
    metrics.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(trained / WORK)


def _source(source: str, model: Path, prompts: Path, activations: Path | None, collection: dict[str, Any]) -> RowSource:
    asked = collected_prompts(read_concept_prompts(prompts))
    if source == "store":
        if activations is None:
            raise UserError("source is store, but this stage is wired without activations; set source: model.")
        return StoreSource(open_store(activations), asked, default_device())
    spec, identity = read_model(model)
    return ModelSource(load_model(spec, identity.digest), asked, parse_collection(collection), default_device())


def _numbers(table: pl.DataFrame, sae: str) -> dict[str, float]:
    pooled = table.filter(pl.col("step").is_null(), pl.col("low").is_null(), sae=sae)
    return {measure: float(f"{value:.6g}") for measure, value in pooled.select("measure", "value").iter_rows()}
