"""The page that a person opens."""

import json
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param
from steerwright.experiments.floors import FLOORS
from steerwright.images import picture_path
from steerwright.report.html.sheets import TRIPTYCH
from steerwright.report.provenance import RunProvenance, file_hashes, library_versions
from steerwright.report.submission import Columns, encode_submission
from steerwright.report.winter.content import ReportContent
from steerwright.report.winter.page import write_report as write_page
from steerwright.scoring.target import read_target
from steerwright.scoring.winter import SCHEMA, WinterScores

NO_CLASSIFIER = {"Who reads the labels": "CLIP, by its zero-shot answer: no label classifier knows such pictures."}


def write_report(
    model: Annotated[Path, Dep()],
    target: Annotated[Path, Dep()],
    norms: Annotated[Path, Dep()],
    vectors: Annotated[Path, Dep()],
    trials: Annotated[Path, Dep()],
    best: Annotated[Path, Dep()],
    pictures: Annotated[Path, Dep()],
    dose_table: Annotated[Path, Dep()],
    images: Annotated[Path, Dep()],
    per_prompt: Annotated[Path, Dep()],
    aggregate: Annotated[Path, Dep()],
    comparisons: Annotated[Path, Dep()],
    params: Annotated[dict[str, Any], Param("/winter")],
    scorers: Annotated[dict[str, str], Param("/scorers")],
    id_column: Annotated[str, Param()],
    image_column: Annotated[str, Param()],
    report: Annotated[Path, Out("report")],
    submission: Annotated[Path, Out("submission.csv")],
) -> None:
    """Write the report and the submission."""
    identity = json.loads(model.read_text())
    spec = identity["spec"]
    answers = pl.DataFrame(json.loads(comparisons.read_text()), schema=SCHEMA)
    wanted = read_target(target, SEASONS_WORLD)
    judged, each, intervals = (pl.read_parquet(path) for path in (images, per_prompt, aggregate))
    scores = WinterScores(judged, each, intervals, answers, wanted)
    doses = json.loads(dose_table.read_text())
    chosen = json.loads(best.read_text())
    listed = (
        scores.per_prompt.filter(condition="unsteered").select("prompt_id", "prompt", "resistance").sort("prompt_id")
    )
    seeds = sorted(scores.images["seed"].unique())
    first = seeds[0]
    shown = [
        {
            "prompt_id": key,
            "seed": first,
            "condition": condition,
            "path": str(pictures / picture_path(condition, key, first)),
        }
        for key in listed["prompt_id"]
        for condition in TRIPTYCH
    ]
    content = ReportContent(
        title=f"Towards {wanted.name}",
        model=f"{spec['name']} ({spec['source']})",
        scores=scores,
        pictures=pl.DataFrame(shown),
        prompts=listed,
        search=_search_table(pl.read_parquet(trials / "trials.parquet"), chosen),
        activations=pl.DataFrame(json.loads(norms.read_text())).rename({"norm": "difference"}).drop("panel", "series"),
        doses=pl.DataFrame(doses["doses"]).select(pl.col("id").alias("prompt_id"), "multiplier", "reason"),
        provenance=RunProvenance(
            facts={
                "Model": f"{spec['source']}, {spec['steps']} steps, guidance {spec['guidance']}",
                "Model fingerprint": identity["fingerprint"]["digest"],
                "Edit": f"layers {chosen['layers']}, strengths {chosen['strengths']} ({chosen['units']} units), "
                f"{chosen['branch']} branch",
                "Adaptive strategy": doses["strategy"],
                "Seeds": ", ".join(map(str, seeds)),
            },
            params={"winter": params, "scorers": scorers},
            hashes=file_hashes({"vectors": vectors, "pictures": pictures, "scores": images}),
            versions=library_versions(),
        ),
        search_objective=f"mean CLIP probability of {wanted.name} on the tuning prompts",
        explanations=NO_CLASSIFIER if scorers["labels"] == "clip" else {},
    )
    write_page(report, content)
    adaptive = {str(key): pictures / picture_path("adaptive", key, first) for key in listed["prompt_id"]}
    encode_submission(adaptive, submission, Columns(id=id_column, image=image_column))


def _search_table(trials: pl.DataFrame, chosen: dict[str, Any]) -> pl.DataFrame:
    """Trials in the report's form; a trial with different strengths at its layers has no `strength`."""
    measures = [name for name in FLOORS.values() if name in trials.columns and trials[name].count()]
    rows = [
        {
            "layers": ", ".join(map(str, row["layers"])),
            "strength": row["strengths"][0] if len(set(row["strengths"])) == 1 else None,
            "strengths": ", ".join(f"{strength:g}" for strength in row["strengths"]),
            "score": row["target"],
            **{name: row[name] for name in measures},
            "feasible": row["feasible"],
            "kind": row["stage"],
            "chosen": row["layers"] == chosen["layers"] and row["strengths"] == chosen["strengths"],
        }
        for row in trials.iter_rows(named=True)
    ]
    return pl.DataFrame(rows, schema_overrides={"strength": pl.Float64})
