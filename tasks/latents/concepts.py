"""Which latents of the trained autoencoders carry which concepts, and how sure that is."""

import json
from pathlib import Path
from typing import Annotated, Literal

import polars as pl

from steerwright.activations.store.reader import open_store
from steerwright.concepts.concept_map import map_concepts as map_latents
from steerwright.concepts.concept_table import TableOptions, concept_labels, concept_metrics
from steerwright.concepts.scores import save_concept_moments
from steerwright.dag import Dep, Out, Param, progress
from steerwright.errors import UserError
from steerwright.prompts.concept_table import read_concept_prompts
from steerwright.sae.sae_file import is_sae_folder, load_sae


def map_concepts(
    prompts: Annotated[Path, Dep()],
    activations: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    axes: Annotated[list[str], Param()],
    branch: Annotated[Literal["cond", "uncond"], Param()],
    keep: Annotated[int, Param()],
    permutations: Annotated[int, Param()],
    halvings: Annotated[int, Param()],
    seed: Annotated[int, Param()],
    concepts: Annotated[Path, Out("concepts.parquet")],
    moments: Annotated[Path, Out("moments")],
    probe: Annotated[Path, Out("probe.parquet")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """Score every latent for every concept at every step on the training prompts, and keep the best of each score."""
    table = read_concept_prompts(prompts).filter(pl.col("split").is_in(["train", "validation"]))
    trained = {folder.name: load_sae(folder) for folder in sorted(saes.iterdir()) if is_sae_folder(folder)}
    if not trained:
        raise UserError(f"{saes} holds no autoencoder; train or import one.")
    moments.mkdir(parents=True)
    found = map_latents(
        open_store(activations),
        trained,
        concept_labels(table, axes),
        (table["split"] == "validation").to_numpy(),
        scratch=moments,
        branch=branch,
        options=TableOptions(keep=keep, permutations=permutations, halvings=halvings, seed=seed),
        progress=lambda done, total: progress(done, total, "rows"),
    )
    for name, mapped in found.items():
        save_concept_moments(mapped.moments, moments / f"{name}.safetensors")
    pl.concat([mapped.table for mapped in found.values()]).write_parquet(concepts)
    beside = pl.concat([mapped.probe for mapped in found.values()])
    beside.write_parquet(probe)
    metrics.write_text(json.dumps(concept_metrics(pl.read_parquet(concepts), beside), indent=1) + "\n")
