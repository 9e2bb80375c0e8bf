"""The report page of the latents pipeline."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors import safe_open

from steerwright.concepts.scores import ConceptMoments, load_concept_moments
from steerwright.dag import Dep, Out, Param
from steerwright.prompts.concept_table import read_concept_prompts
from steerwright.report.latents.content import LatentCard, LatentsContent, TopPicture, concept_name
from steerwright.report.latents.page import write_latents_report as write_page
from steerwright.report.latents.words import concepts_of, number
from steerwright.report.provenance import RunProvenance, file_hashes, library_versions
from steerwright.sae.training.curves import read_curves
from steerwright.scoring.erasure_samples import UNSTEERED, read_shots
from steerwright.scoring.fid import fid_name
from steerwright.scoring.perceptual import score_name
from steerwright.scoring.unlearning import ANSWER_SCHEMA


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


# What the report shows of latents, from the artifacts of the pipeline: cards, heatmaps, and what was done in words.

SCORES = {"auroc": "AUROC", "cohens_d": "Cohen's d", "share_difference": "Share difference", "stability": "Stability"}
HEATMAP = {"sae": pl.String, "concept": pl.String, "latent": pl.Int64, "mean": pl.Float64, "selected": pl.Boolean}


def gather_cards(
    table: pl.DataFrame,
    maps: Mapping[str, NDArray[np.floating[Any]]],
    steps: Mapping[str, Sequence[int]],
    moments: Mapping[str, ConceptMoments],
    pictures: Mapping[tuple[str, int], Path],
) -> list[LatentCard]:
    """The cards of `table` (cards.parquet), in its order.

    `maps`: by `SAE/LATENT/RANK`; `steps`: by autoencoder; `moments`: by autoencoder, for the means by step; `pictures`:
    unsteered ones, by prompt id and seed. A picture that is not there is left out.
    """
    found = []
    for (sae, latent, concept), part in table.group_by("sae", "latent", "concept", maintain_order=True):
        rows = part.sort("rank").to_dicts()
        top = [
            TopPicture(row["prompt"], row["seed"], pictures[row["prompt_id"], row["seed"]], row["activation"],
                       maps[f"{sae}/{latent}/{row['rank']}"])
            for row in rows if row["rank"] is not None and (row["prompt_id"], row["seed"]) in pictures
        ]  # fmt: skip
        scores = {name: rows[0][column] for column, name in SCORES.items() if rows[0].get(column) is not None}
        known = list(steps.get(str(sae), ()))
        lines = _lines(moments.get(str(sae)), str(concept), int(str(latent)), known)
        found.append(
            LatentCard(str(sae), int(str(latent)), str(concept), scores, rows[0].get("density"), known, lines, top)
        )
    return found


def concept_latents(table: pl.DataFrame, moments: Mapping[str, ConceptMoments]) -> pl.DataFrame:
    """The mean activation of the latents of `table` (sae, concept, latent) over pictures of every concept, and which
    it was chosen for; autoencoders without moments are left out."""
    rows: list[dict[str, Any]] = []
    chosen = set(table.select("sae", "concept", "latent").iter_rows())
    for sae in moments:
        latents = table.filter(sae=sae)["latent"].unique(maintain_order=True).to_list()
        means = {name: moments[sae].concept_means(name, None)[latents].tolist() for name in moments[sae].concepts}
        rows += [
            {"sae": sae, "concept": name, "latent": latent, "mean": means[name][place],
             "selected": (sae, name, latent) in chosen}
            for place, latent in enumerate(latents) for name in moments[sae].concepts
        ]  # fmt: skip
    return pl.DataFrame(rows, schema=HEATMAP)


def what_was_done(
    prompts: pl.DataFrame, saes: Mapping[str, Mapping[str, Any]], images: pl.DataFrame, trials: pl.DataFrame,
    axes: Sequence[str],
) -> dict[str, str]:  # fmt: skip
    """Heading -> sentence, for each part of the pipeline; `saes`: autoencoder -> config.json."""
    splits = dict(prompts.group_by("split", maintain_order=True).len().iter_rows())
    named = ", ".join(f"{count} {name}" for name, count in splits.items())
    edited = images.filter(pl.col("method") != UNSTEERED)
    targets = [name for name in edited["target"].unique(maintain_order=True).to_list() if " + " not in name]
    rows = [facts["training"]["rows"] for facts in saes.values() if facts.get("training", {}).get("rows")]
    trained = f" on {max(rows):,} rows of activations".replace(",", "\u202f") if rows else ""
    widths = "; ".join(
        f"{name}: {facts['latents']} latents at {facts['site'].get('hookpoint')}" for name, facts in saes.items()
    )
    return {
        "Prompts": f"{number(prompts.height, 'prompt')} that name {' and '.join(axes)}, split by prompt ({named}), "
        "each with a seed of its own.",
        "Autoencoders": f"{number(len(saes), 'sparse autoencoder')}{trained}. {widths}.",
        "Concepts": "Every latent was scored for every concept on training and validation prompts, step by step.",
        "Choice": f"{number(trials.height, 'trial')} on tuning prompts, judged by CLIP, chose how targets are erased."
        if trials.height else "The same edit was used for every target.",
        "Erasing": f"{concepts_of(targets)[:1].upper()}{concepts_of(targets)[1:]}: each erased in turn on the "
        f"{number(images.filter(method=UNSTEERED)['prompt_id'].n_unique(), 'test prompt')}, and judged by labels.",
    }  # fmt: skip


def sae_facts(saes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """What the table says of every autoencoder, from its config.json."""
    found: dict[str, dict[str, str]] = {}
    for name, facts in saes.items():
        training = facts.get("training") or {}
        config = training.get("config") or {}
        told = {
            "Hookpoint": facts["site"].get("hookpoint"),
            "Kind": config.get("architecture") or (facts.get("activation") or {}).get("kind"),
            "Width": facts.get("width"), "Latents": facts.get("latents"), "k": config.get("k"),
            "Rows": f"{training['rows']:,}".replace(",", "\u202f") if training.get("rows") else None,
        }  # fmt: skip
        found[name] = {key: str(value) for key, value in told.items() if value is not None}
    return found


def _lines(
    moments: ConceptMoments | None, concept: str, latent: int, steps: Sequence[int]
) -> dict[str, Sequence[float]]:
    if moments is None or not set(steps) <= set(moments.steps):
        return {}
    mine = [float(moments.concept_means(concept, step)[latent]) for step in steps]
    others = [float(moments.others_means(concept, step)[latent]) for step in steps]
    return {concept_name(concept): mine, "others": others}
