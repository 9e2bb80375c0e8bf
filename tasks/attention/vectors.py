"""Directions from what attention layers gave: one per block, branch and time bin."""

import json
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
import torch

from steerwright.activations.moments_file import Sums, load_moments, merged
from steerwright.activations.paired_moments import PairedMoments, shuffle_signs
from steerwright.activations.store.reader import Store, open_store
from steerwright.dag import Dep, Out, Param, progress
from steerwright.errors import UserError
from steerwright.models.attention_blocks import Attention, attention_blocks
from steerwright.models.hookpoints import Hookpoint
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


def moments_of_rows(
    store: Store, *, steps: int, shuffles: int, shuffle_seed: int = 0
) -> dict[tuple[Hookpoint, str], PairedMoments]:
    """The running sums that a store of `attention_rows` gives; one record batch at a time is in memory.

    Raises UserError when rows were left out because they were not finite.
    """
    found: dict[tuple[Hookpoint, str], PairedMoments] = {}
    names = {
        name.split(":")[0]: None
        for hookpoint in store.hookpoints[:1]
        for file, number in store.places(hookpoint)
        for name in file.index(number).column("prompt").unique().to_pylist()
    }
    swaps = dict(zip(names, shuffle_signs(list(names), shuffles, shuffle_seed).T, strict=True))
    shuffles = len(next(iter(swaps.values()), ()))
    for hookpoint in store.hookpoints:
        layout = store.layout(hookpoint)
        tokens = int(torch.tensor(layout.grid).prod())
        for values, batch in store.batches(hookpoint):
            images, rest = divmod(len(values), tokens)
            if rest or images % 2:
                raise UserError(
                    f"Rows at {hookpoint} are missing from {store.folder}: they were not finite. "
                    "Set the model's dtype to float32 or bfloat16, and collect again."
                )
            branch, step = batch.column("branch")[0].as_py(), batch.column("step")[0].as_py()
            ids = [batch.column("prompt")[image * tokens].as_py() for image in range(images // 2)]
            signs = torch.stack([swaps[id_.split(":")[0]] for id_ in ids], dim=1)
            means = values.reshape(images, tokens, layout.width).mean(
                1, dtype=torch.promote_types(values.dtype, torch.float32)
            )
            sums = found.setdefault((hookpoint, branch), PairedMoments.empty(steps, layout.width, shuffles))
            sums.add(step, means[: images // 2], means[images // 2 :], signs)
    return found
