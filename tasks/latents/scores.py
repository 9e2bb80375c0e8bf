"""What the pictures of erasing latents show: UA, IRA, CRA, artifacts, LPIPS and FID."""

import json
from pathlib import Path
from typing import Annotated, Any

from steerwright.dag import Dep, Out, Param, progress
from steerwright.prompts.concept_suite import read_concept_prompts
from steerwright.scoring.artifacts import FOLDS, ArtifactDetector
from steerwright.scoring.axis_judge import AxisJudge, axis_values, unknown_values
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.fid import FidFeatures
from steerwright.scoring.labels import LabelScorer
from steerwright.scoring.latent_shots import load_pictures, read_shots, reference_shots, scored_shots, timings
from steerwright.scoring.perceptual import Perceptual
from steerwright.scoring.unlearning import answers, flat_metrics, sequences, unlearning
from steerwright.scoring.unlearning_table import ErasureJudge
from steerwright.stats.bootstrap import Bootstrap


def evaluate_latents(
    prompts: Annotated[Path, Dep()],
    shots: Annotated[Path, Dep()],
    pictures: Annotated[Path, Dep()],
    judges: Annotated[list[Path], Dep()],  # noqa: ARG001  # read by their names in params; here so that new weights count
    scorers: Annotated[dict[str, str], Param("/scorers")],
    axes: Annotated[list[str], Param("/latents.concepts.axes")],
    fid: Annotated[str, Param()],
    artifact_quantile: Annotated[float, Param()],
    resamples: Annotated[int, Param()],
    bootstrap_seed: Annotated[int, Param()],
    images: Annotated[Path, Out("images.parquet")],
    rates: Annotated[Path, Out("unlearning.parquet")],
    sequential: Annotated[Path, Out("sequential.parquet")],
    comparisons: Annotated[Path, Out("comparisons.json")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """Judge every picture beside its unsteered one, and count what is gone and what stayed."""
    asked = read_concept_prompts(prompts)
    values = axis_values(asked, axes)
    classifier = None if scorers["labels"] == "clip" or unknown_values(values) else LabelScorer.load(scorers["labels"])
    judge = AxisJudge(values, ClipScorer(scorers["clip"]), classifier)
    perceptual, features = Perceptual(scorers["lpips"]), FidFeatures(fid)
    planned = read_shots(shots)
    reference, scored = reference_shots(planned), scored_shots(planned)
    detector = None
    if reference["prompt_id"].n_unique() >= FOLDS:
        detector = ArtifactDetector(
            load_pictures(pictures, reference["path"].to_list()), reference["prompt_id"].to_list(),
            source=scorers["lpips"], classifier=classifier, quantile=artifact_quantile,
        )  # fmt: skip
    whole = ErasureJudge(judge, perceptual, detector, features).judged(
        scored, pictures, asked, lambda done, total: progress(done, total, "pictures")
    )
    seen = whole.drop("features")
    bootstrap = Bootstrap(resamples=resamples, seed=bootstrap_seed)
    found = unlearning(seen, bootstrap, whole["features"], timings(scored))
    together, alone = sequences(found)
    seen.write_parquet(images)
    alone.write_parquet(rates)
    together.write_parquet(sequential)
    # JSON knows no NaN: what is not defined is null.
    comparisons.write_text(json.dumps(answers(alone).fill_nan(None).to_dicts(), indent=1) + "\n")
    numbers: dict[str, Any] = flat_metrics(alone)
    if detector is not None:
        numbers["artifact_reference_rate"] = round(detector.rate, 6)
    metrics.write_text(json.dumps(numbers, indent=1) + "\n")
