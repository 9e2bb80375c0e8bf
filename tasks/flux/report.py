"""The gallery of the FLUX pipeline."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.features.neuronpedia import ImageActivation, PublishedFeature, export_features
from steerwright.features.s_matrix import SMatrix, Statistic
from steerwright.features.token_maps import TokenMaps
from steerwright.report.flux.content import FluxContent, LayerContent, score_histogram, score_levels
from steerwright.report.flux.page import write_flux_report as write_pages
from steerwright.report.provenance import RunProvenance, file_hashes, library_versions
from steerwright.scoring.perceptual import score_name


def write_flux_report(
    model: Annotated[Path, Dep()],
    images: Annotated[Path, Dep()],
    pictures: Annotated[Path, Dep()],
    matches: Annotated[Path, Dep()],
    summary: Annotated[Path, Dep()],
    saes: Annotated[list[Path], Dep()],
    quality: Annotated[list[Path], Dep()],
    facts: Annotated[list[Path], Dep()],
    matrix: Annotated[list[Path], Dep()],
    maps: Annotated[list[Path], Dep()],
    statistics: Annotated[list[Path], Dep()],
    top: Annotated[list[Path], Dep()],
    coherence: Annotated[list[Path], Dep()],
    selected: Annotated[list[Path], Dep()],
    labels: Annotated[list[Path], Dep()],
    pointing: Annotated[list[Path], Dep()],
    decoder: Annotated[list[Path], Dep()],
    similarity: Annotated[list[Path], Dep()],
    overlays: Annotated[list[Path], Dep()],
    overlay_table: Annotated[list[Path], Dep()],
    steered: Annotated[list[Path], Dep()],
    steering: Annotated[list[Path], Dep()],
    trials: Annotated[list[Path], Dep()],
    grid_pictures: Annotated[list[Path], Dep()],
    grids: Annotated[list[Path], Dep()],
    truth: Annotated[list[Path], Dep()],
    changes: Annotated[list[Path], Dep()],
    params: Annotated[dict[str, Any], Param("/flux")],
    scorers: Annotated[dict[str, str], Param("/scorers")],
    alive_above: Annotated[float, Param("/flux.features.alive_above")],
    statistic: Annotated[Literal["max", "mean", "top"], Param("/flux.features.statistic")],
    bar: Annotated[float, Param("/flux.truth.bar")],
    strengths: Annotated[list[float], Param("/flux.grids.strengths")],
    layers: Annotated[list[str], Param()],
    report: Annotated[Path, Out("report")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """Write the pages: the gallery, what is true of it, steering, demos, decoders, layers, method."""
    columns = {
        "saes": saes, "quality": quality, "facts": facts, "matrix": matrix, "maps": maps, "statistics": statistics,
        "top": top, "coherence": coherence, "selected": selected, "labels": labels, "pointing": pointing,
        "decoder": decoder, "similarity": similarity, "overlays": overlays, "overlay_table": overlay_table,
        "steered": steered, "steering": steering, "trials": trials, "grid_pictures": grid_pictures, "grids": grids,
    }  # fmt: skip
    files = [
        LayerFiles(name=name, **{column: paths[number] for column, paths in columns.items()})
        for number, name in enumerate(layers)
    ]
    metrics.write_text(json.dumps(
        {name: headlines(json.loads(truth[number].read_text()), json.loads(changes[number].read_text()))
         for number, name in enumerate(layers)}, indent=1,
    ) + "\n")  # fmt: skip
    identity = json.loads(model.read_text())
    spec, table = identity["spec"], pl.read_parquet(images)
    with tempfile.TemporaryDirectory() as scratch:
        exports = {
            f"Neuronpedia's JSON, {one.name}": export_layer(one, spec["name"], table, statistic, Path(scratch))
            for one in files
        }
        write_pages(
            FluxContent(
                title="Features of a FLUX transformer",
                model=f"{spec['name']} ({spec['source']}), {spec['steps']} steps, guidance {spec['guidance']}",
                done=what_was_done(table, params, files),
                images=table,
                image_folder=pictures,
                layers=[layer_content(one, statistic, alive_above, strengths) for one in files],
                matches=pl.read_parquet(matches),
                matched=(layers[0], layers[1]),
                comparison=json.loads(summary.read_text()),
                interpretable=bar,
                perceptual=score_name(scorers["lpips"]),
                exports=exports,
                provenance=RunProvenance(
                    facts={"Model": spec["source"], "Model fingerprint": identity["fingerprint"]["digest"]},
                    params={"flux": params, "scorers": scorers},
                    hashes=file_hashes(
                        {"pictures": pictures, **{f"autoencoders, {one.name}": one.saes for one in files}}
                    ),
                    versions=library_versions(),
                ),
            ),
            report,
        )


# From what the stages wrote to what the gallery shows: a layer at a time.

POINTING = ("region", "pointing", "base_rate", "energy")


@dataclass(frozen=True, slots=True)
class LayerFiles:
    """Where the stages of one layer left their outputs."""

    name: str
    saes: Path
    quality: Path
    facts: Path
    matrix: Path
    maps: Path
    statistics: Path
    top: Path
    coherence: Path
    selected: Path
    labels: Path
    pointing: Path
    decoder: Path
    similarity: Path
    overlays: Path
    overlay_table: Path
    steered: Path
    steering: Path
    trials: Path
    grid_pictures: Path
    grids: Path


def layer_content(files: LayerFiles, statistic: Statistic, alive_above: float, strengths: list[float]) -> LayerContent:
    """The content of a layer; what was not measured (no labels, no scenes) is empty and says why."""
    said: dict[str, Any] = json.loads(files.facts.read_text())
    config = json.loads((files.saes / said["sae"] / "config.json").read_text())
    selected, labels = pl.read_parquet(files.selected), pl.read_parquet(files.labels)
    pointing = pl.read_parquet(files.pointing).select("latent", *POINTING)
    trials, grids = pl.read_parquet(files.trials), pl.read_parquet(files.grids)
    # Latents that were steered without having been selected have cards too.
    latents = list(dict.fromkeys([*selected["latent"], *grids["latent"], *trials["latent"]]))
    scores = np.asarray(SMatrix.open(files.matrix).of(statistic)[:, latents])
    quality = pl.read_parquet(files.quality).filter(pl.col("step").is_null(), pl.col("low").is_null(), sae=said["sae"])
    return LayerContent(
        name=files.name,
        facts=_facts(said, config),
        quality=dict(quality.select("measure", "value").iter_rows()),
        statistics=pl.read_parquet(files.statistics),
        top=pl.read_parquet(files.top),
        coherence=pl.read_parquet(files.coherence),
        selected=selected,
        labels=labels.join(pointing, on="latent", how="left", maintain_order="left"),
        decoder=pl.read_parquet(files.decoder),
        similarity=pl.read_parquet(files.similarity),
        overlays=pl.read_parquet(files.overlay_table),
        steering=pl.read_parquet(files.steering),
        trials=trials,
        grids=grids,
        levels=score_levels(scores, latents, above=alive_above),
        distribution=score_histogram(scores, latents, above=alive_above),
        overlay_folder=files.overlays,
        steering_folder=files.steered,
        grid_folder=files.grid_pictures,
        strengths=strengths,
        why_empty={"labels": "The prompts say nothing of labels, so no truth is known."} if labels.is_empty() else {},
    )


def what_was_done(images: pl.DataFrame, params: dict[str, Any], layers: list[LayerFiles]) -> dict[str, str]:
    """What each step did, in a sentence, for people who have not read params.yaml."""
    facts = [json.loads(one.facts.read_text()) for one in layers]
    features, step = params["features"], params["images"]["step"]
    where = " and ".join(f"{said['hookpoint']} ({one.name})" for one, said in zip(layers, facts, strict=True))
    pool = {
        "max": "the largest activation",
        "mean": "the mean activation",
        "top": "the mean of the largest activations",
    }
    return {
        "Activations": f"Rows of {' and '.join(params['activations']['splits'])} prompts at {where}; autoencoders "
        f"were trained on {params['sae']['rows']:,} rows each.",
        "Pictures": f"{len(images)} pictures of {images['prompt_id'].n_unique()} other prompts, each from a seed of "
        f"its own; their rows at step {step} (counted from 0) were kept while they were made.",
        "Scores": f"A latent's score on a picture is {pool[features['statistic']]} over its image tokens.",
        "Selection": f"Latents ranked by {params['selection']['by']}: the best picture of each of up to "
        f"{features['most']} prompts, compared with random sets of as many.",
        "Steering": f"Every token moves along a decoder direction (add), or as the latent's own value changes "
        f"(encode, edit, decode); at {_steps(features['steps'])}.",
        "Demos": f"Pictures whose score lies between percentiles {params['demos']['percentiles'][0]:g} and "
        f"{params['demos']['percentiles'][1]:g} were steered to both sides; those that changed most were kept.",
    }


def headlines(truth: dict[str, Any], changes: dict[str, float]) -> dict[str, Any]:
    """What a run ends with, of a layer: interpretable selected latents, and the largest change of a label."""
    found: dict[str, Any] = {}
    if truth:
        found["interpretable_of_selected"] = round(truth["share"], 4)
        found["interpretable_of_random"] = [round(truth[name], 4) for name in ("random_low", "random_high")]
        found["coherence_predicts"] = round(truth["rank_correlation"], 4)
    if changes:
        best = max(changes, key=lambda name: changes[name])
        found["largest_change_of_a_label"] = changes[best]
        found["by_steering"] = best
    return found


def _steps(steps: list[int] | None) -> str:
    return "all denoising steps" if steps is None else f"denoising steps {steps[0]} to {steps[1]}"


def export_layer(files: LayerFiles, model: str, images: pl.DataFrame, statistic: Statistic, folder: Path) -> Path:
    """Write the selected latents as JSON below `folder` (MODEL/LAYER/INDEX.json); returns the layer's folder."""
    selected, labels = pl.read_parquet(files.selected), pl.read_parquet(files.labels)
    known = {row["latent"]: row for row in labels.iter_rows(named=True)}
    frequency = dict(pl.read_parquet(files.statistics).select("latent", "frequency").iter_rows())
    near = {
        latent: dict(zip(others, cosines, strict=True))
        for latent, others, cosines in pl.read_parquet(files.decoder)
        .select("latent", "neighbours", "neighbour_cosines")
        .iter_rows()
    }
    matrix, maps = SMatrix.open(files.matrix).of(statistic), TokenMaps.open(files.maps)
    top = pl.read_parquet(files.top)
    shown = images.select("file", "id", "prompt").to_dicts()
    features = []
    for latent in selected["latent"].to_list():
        best = top.filter(latent=latent)["image"].to_list()
        label = known.get(latent, {})
        features.append(
            PublishedFeature(
                index=latent, density=float(frequency[latent]), scores=np.asarray(matrix[:, latent]),
                activations=[ImageActivation(**shown[image], map=maps.map(image, latent)) for image in best],
                label=f"{label['label']} {label['value']}" if label.get("label") else None, auroc=label.get("auroc"),
                neighbours=near[latent],
            )
        )  # fmt: skip
    export_features(folder, model, files.name, features)
    return folder / model / files.name


def _facts(said: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
    training = config.get("training") or {}
    how = training.get("config") or {}
    steps = config["site"].get("steps")
    found = {
        "Hookpoint": said["hookpoint"], "Step": said["step"], "Autoencoder": said["sae"],
        "Trained on steps": "all" if steps is None else ", ".join(map(str, steps)),
        "Kind": how.get("architecture") or config["activation"]["kind"],
        "Latents": config["latents"], "k": how.get("k"), "Width": config["width"],
        "Mean norm": f"{said['site_norm']:.4g}",
    }  # fmt: skip
    return {name: str(value) for name, value in found.items() if value is not None}
