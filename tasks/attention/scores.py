"""What the pictures of edits show, by labels, CLIP, LPIPS and FID."""

import json
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param, progress
from steerwright.images import load_images
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.edits import flat_metrics, judged_edits, score_edits
from steerwright.scoring.fid import FidFeatures
from steerwright.scoring.judges import ConceptJudge
from steerwright.scoring.labels import LabelScorer
from steerwright.scoring.perceptual import Perceptual
from steerwright.scoring.samples import EditPlan
from steerwright.stats.bootstrap import Bootstrap


def evaluate_edits(
    prompts: Annotated[Path, Dep()],
    chosen: Annotated[Path, Dep()],
    pictures: Annotated[Path, Dep()],
    judges: Annotated[list[Path], Dep()],  # noqa: ARG001  # read by their names in params; here so that new weights count
    scorers: Annotated[dict[str, str], Param("/scorers")],
    edits: Annotated[dict[str, Any], Param("/attention.edits")],
    seeds: Annotated[dict[str, Any], Param("/attention.images.seeds")],
    fid: Annotated[str, Param()],
    resamples: Annotated[int, Param()],
    bootstrap_seed: Annotated[int, Param()],
    images: Annotated[Path, Out("images.parquet")],
    aggregate: Annotated[Path, Out("aggregate.parquet")],
    comparisons: Annotated[Path, Out("comparisons.json")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
    curves: Annotated[
        Path,
        Out("curves.csv", kind="plots", template="lines", x="strength", y="estimate", title="Strength curves"),
    ],
) -> None:
    """Score the pictures of all edits and controls, with bootstrap intervals over prompts."""
    plan = EditPlan.read(prompts, edits)
    concepts, specs = plan.concepts, plan.edits
    decided = json.loads(chosen.read_text())
    judge = ConceptJudge(ClipScorer(scorers["clip"]), SEASONS_WORLD)
    classifier = None if scorers["labels"] == "clip" else LabelScorer.load(scorers["labels"], SEASONS_WORLD)
    perceptual, features = Perceptual(scorers["lpips"]), FidFeatures(fid)
    tables: list[pl.DataFrame] = []
    for done, (name, edit) in enumerate(specs.items()):
        progress(done, len(specs), "edits")
        planned = [
            one
            for one in plan.samples(name, decided[name]["strength"], seeds)
            # A model without an unconditional branch has no pictures by a negative prompt.
            if not one.negative_prompt or (pictures / one.path).is_file()
        ]
        for _, group in groupby(planned, key=lambda one: one.condition):
            some = list(group)
            pixels = load_images([pictures / one.path for one in some])
            plain = load_images([pictures / one.unsteered for one in some])
            tables.append(
                judged_edits(name, edit, concepts, some, pixels, plain, judge, classifier, perceptual)
                .with_columns(pl.Series("features", features(pixels).tolist()))
            )  # fmt: skip
    table = pl.concat(tables)
    scores = score_edits(
        table.drop("features"),
        table["features"],
        specs,
        SEASONS_WORLD,
        Bootstrap(resamples=resamples, seed=bootstrap_seed),
    )
    scores.images.write_parquet(images)
    scores.aggregate.write_parquet(aggregate)
    # JSON knows no NaN: what is not defined is null.
    comparisons.write_text(json.dumps(scores.comparisons.fill_nan(None).to_dicts(), indent=1) + "\n")
    metrics.write_text(json.dumps(flat_metrics(scores), indent=1) + "\n")
    swept = scores.aggregate.filter(
        pl.col("condition").is_in(["unsteered", "steered"]),
        pl.col("metric").is_in(["concept_by_labels", "others_kept"]),
    )
    swept.select(
        "edit", "kind", "metric", "strength", "estimate", "low", "high",
        pl.format("{}: {}", "edit", "metric").alias("panel"), pl.col("kind").alias("series"),
    ).write_csv(curves, float_precision=6)  # fmt: skip
    progress(len(specs), len(specs), "edits")
