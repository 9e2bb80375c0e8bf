"""The gallery of the FLUX pipeline."""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.report.flux.content import FluxContent
from steerwright.report.flux.gather import LayerFiles, export_layer, headlines, layer_content, what_was_done
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
