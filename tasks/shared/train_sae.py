"""Sparse autoencoders on the rows that were collected, or on rows that the model gives while it generates."""

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl

from steerwright.activations.shard_plan import collected_prompts, parse_collection
from steerwright.activations.store.reader import open_store
from steerwright.dag import Dep, Out, Param, code_digest, progress
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import default_device, load_model
from steerwright.models.select import read_model
from steerwright.prompts.concept_table import read_concept_prompts
from steerwright.sae.metrics import quality_table
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import require_fit, save_sae
from steerwright.sae.training.curves import Curves
from steerwright.sae.training.loop import train_saes
from steerwright.sae.training.plan import by_steps, load_imported, parse_training, split_imported
from steerwright.sae.training.rows import ModelSource, RowSource, StoreSource

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
    """Train autoencoders on one stream of rows, or take those that were imported, and measure all on held-out rows."""
    found = _source(source, model, prompts, activations, collection)
    to_train, taken = split_imported(saes, "saes")
    planned, amounts = parse_training(
        to_train,
        {
            "rows": rows, "batch_rows": batch_rows, "pool_rows": pool_rows, "checkpoint_rows": checkpoint_rows,
            "seed": seed,
        },
        found.hookpoints,
        empty=bool(taken),
    )  # fmt: skip
    done: dict[str, Sae] = {}
    tables: list[pl.DataFrame] = []
    kept = Curves()
    for steps, group in by_steps(planned).items():
        hookpoints = list(dict.fromkeys(one.hookpoint for one in group.values()))
        # Each group has a checkpoint of its own: a group that was finished before a kill only loads it.
        work = trained / WORK / ("all" if steps is None else "-".join(map(str, steps)))
        with closing(found.stream(hookpoints, amounts, steps)) as stream:
            one = train_saes(
                stream, group, work, rows=rows, batch_rows=batch_rows, checkpoint_rows=checkpoint_rows,
                sites={hookpoint: found.site(hookpoint, steps) for hookpoint in hookpoints}, device=default_device(),
                code=code_digest(), progress=lambda here, total: progress(here, total, "rows"),
            )  # fmt: skip
        done |= one.saes
        kept = Curves(kept.points | one.curves.points)
        tables.append(quality_table({name: (sae, found.held_out(group[name].hookpoint, amounts, steps))
                                     for name, sae in one.saes.items()}))  # fmt: skip
    for name, entry in taken.items():
        done[name] = sae = load_imported(entry, name, found.model)
        place, steps = Hookpoint.parse(str(sae.site.hookpoint)), sae.site.steps
        collected = found.site(place)
        if steps is not None and set(steps) <= set(collected.steps or steps):
            collected = found.site(place, steps)
        elif steps is not None:
            steps = None  # refused, unless the entry allows the mismatch
        require_fit(sae.site, collected, name, allow_mismatch=entry.allow_mismatch)
        tables.append(quality_table({name: (sae, found.held_out(place, amounts, steps))}))
    table = pl.concat(tables)
    measured = {name: _numbers(table, name) for name in done}
    for name, sae in done.items():
        facts: dict[str, Any] = {"held_out": measured[name]}
        if name in planned:
            facts |= {"config": planned[name].config.model_dump(mode="json"), "rows": rows, "batch_rows": batch_rows}
        save_sae(sae, trained / name, facts)
    kept.write(curves)
    table.write_parquet(quality)
    metrics.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(trained / WORK, ignore_errors=True)  # there is none where all were imported


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
