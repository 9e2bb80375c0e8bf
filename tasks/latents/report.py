"""The report page of the latents pipeline."""

import json
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from safetensors import safe_open

from steerwright.concepts.scores import load_concept_moments
from steerwright.dag import Dep, Out, Param
from steerwright.prompts.concept_suite import read_concept_prompts
from steerwright.report.latents.content import LatentsContent
from steerwright.report.latents.gather import concept_latents, gather_cards, sae_facts, what_was_done
from steerwright.report.latents.page import write_latents_report as write_page
from steerwright.report.provenance import RunProvenance, file_hashes, library_versions
from steerwright.sae.training.curves import read_curves
from steerwright.scoring.fid import fid_name
from steerwright.scoring.latent_shots import read_shots
from steerwright.scoring.perceptual import score_name
from steerwright.scoring.unlearning import ANSWER_SCHEMA, UNSTEERED


def write_latents_report(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    quality: Annotated[Path, Dep()],
    curves: Annotated[Path, Dep()],
    concepts: Annotated[Path, Dep()],
    moments: Annotated[Path, Dep()],
    trials: Annotated[Path, Dep()],
    chosen: Annotated[Path, Dep()],
    shots: Annotated[Path, Dep()],
    pictures: Annotated[Path, Dep()],
    images: Annotated[Path, Dep()],
    rates: Annotated[Path, Dep()],
    sequential: Annotated[Path, Dep()],
    comparisons: Annotated[Path, Dep()],
    cards: Annotated[Path, Dep()],
    maps: Annotated[Path, Dep()],
    params: Annotated[dict[str, Any], Param("/latents")],
    scorers: Annotated[dict[str, str], Param("/scorers")],
    report: Annotated[Path, Out("report")],
) -> None:
    """Write the report: what the autoencoders learnt, which latents carry a concept, and what erasing them does."""
    identity = json.loads(model.read_text())
    spec = identity["spec"]
    names = [folder.name for folder in sorted(saes.iterdir()) if (folder / "config.json").is_file()]
    configs = {name: json.loads((saes / name / "config.json").read_text()) for name in names}
    sums = {name: load_concept_moments(moments / f"{name}.safetensors") for name in names}
    made = read_shots(shots).filter(pl.col("operating"), pl.col("method") != "reference")
    made = made.with_columns(pl.lit(f"{pictures}/").add(pl.col("path")).alias("path"))
    plain = made.filter(method=UNSTEERED).select("prompt_id", "seed", "path")
    with safe_open(str(maps), framework="np") as file:
        steps = json.loads((file.metadata() or {}).get("steps", "{}"))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    shown, judged, tried = pl.read_parquet(cards), pl.read_parquet(images), pl.read_parquet(trials)
    asked = read_concept_prompts(prompts)
    write_page(
        report,
        LatentsContent(
            title="Sparse autoencoders: what latents carry, and what erasing them does",
            model=f"{spec['name']} ({spec['source']})",
            done=what_was_done(asked, configs, judged, tried, params["concepts"]["axes"]),
            images=judged,
            unlearning=pl.read_parquet(rates),
            sequential=pl.read_parquet(sequential),
            comparisons=pl.DataFrame(json.loads(comparisons.read_text()), schema=ANSWER_SCHEMA),
            chosen=json.loads(chosen.read_text()),
            trials=tried,
            quality=pl.read_parquet(quality),
            curves=_with_rows(read_curves(curves), params["sae"]["batch_rows"]),
            saes=sae_facts(configs),
            concept_latents=concept_latents(shown, sums),
            cards=gather_cards(
                shown, tensors, steps, sums,
                {(prompt, seed): Path(path) for prompt, seed, path in plain.iter_rows()},
            ),
            pictures=made.select("target", "method", "prompt_id", "seed", "path"),
            provenance=RunProvenance(
                facts={
                    "Model": f"{spec['source']}, {spec['steps']} steps, guidance {spec['guidance']}",
                    "Model fingerprint": identity["fingerprint"]["digest"],
                },
                params={"latents": params, "scorers": scorers},
                hashes=file_hashes({"autoencoders": saes, "concepts": concepts, "pictures": pictures,
                                    "scores": images}),
                versions=library_versions(),
            ),
            perceptual=score_name(scorers["lpips"]),
            fid_name=fid_name(params["scores"]["fid"]),
        ),
    )  # fmt: skip


def _with_rows(curves: pl.DataFrame, batch_rows: int) -> pl.DataFrame:
    """Curves against rows instead of optimiser steps."""
    return curves.with_columns((pl.col("step") * batch_rows).alias("rows")).drop("step")
