"""The report page of the attention pipeline."""

import json
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param
from steerwright.report.attention.content import AttentionContent
from steerwright.report.attention.page import write_attention_report as write_page
from steerwright.report.provenance import RunProvenance, file_hashes, library_versions
from steerwright.scoring.edits import COMPARISONS
from steerwright.scoring.fid import fid_name
from steerwright.scoring.perceptual import score_name
from steerwright.scoring.samples import EditPlan


def write_attention_report(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    vectors: Annotated[Path, Dep()],
    geometry: Annotated[Path, Dep()],
    trials: Annotated[Path, Dep()],
    chosen: Annotated[Path, Dep()],
    pictures: Annotated[Path, Dep()],
    images: Annotated[Path, Dep()],
    aggregate: Annotated[Path, Dep()],
    comparisons: Annotated[Path, Dep()],
    params: Annotated[dict[str, Any], Param("/attention")],
    scorers: Annotated[dict[str, str], Param("/scorers")],
    report: Annotated[Path, Out("report")],
) -> None:
    """Write the report: pictures over strength, curves, controls, and the geometry of the vectors."""
    identity = json.loads(model.read_text())
    spec = identity["spec"]
    plan = EditPlan.read(prompts, params["edits"])
    decided = json.loads(chosen.read_text())
    seeds = params["images"]["seeds"]
    shown: dict[str, Any] = {}
    for name in plan.edits:
        rows = [
            {"prompt_id": one.prompt_id, "seed": one.seed, "condition": one.shown_as, "strength": one.strength,
             "path": str(pictures / one.path)}
            for one in plan.samples(name, decided[name]["strength"], seeds)
        ]  # fmt: skip
        shown[name] = pl.DataFrame(rows)
    table = pl.read_parquet(geometry)
    write_page(
        report,
        AttentionContent(
            title="Cross-attention steering",
            model=f"{spec['name']} ({spec['source']})",
            images=pl.read_parquet(images),
            aggregate=pl.read_parquet(aggregate),
            comparisons=pl.DataFrame(json.loads(comparisons.read_text()), schema=COMPARISONS),
            chosen={name: decided[name] for name in plan.edits},
            trials=pl.read_parquet(trials),
            pictures=shown,
            vectors={name: table.filter(pl.col("concept") == name).drop("concept") for name in plan.concepts},
            provenance=RunProvenance(
                facts={
                    "Model": f"{spec['source']}, {spec['steps']} steps, guidance {spec['guidance']}",
                    "Model fingerprint": identity["fingerprint"]["digest"],
                    "Seeds": "; ".join(f"{suite}: {', '.join(map(str, of['scored']))}" for suite, of in seeds.items()),
                },
                params={"attention": params, "scorers": scorers},
                hashes=file_hashes({"vectors": vectors, "pictures": pictures, "scores": images}),
                versions=library_versions(),
            ),
            labels=SEASONS_WORLD,
            perceptual=score_name(scorers["lpips"]),
            fid_name=fid_name(params["scores"]["fid"]),
        ),
    )
