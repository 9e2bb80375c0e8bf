"""What the pictures of erasing latents show: UA, IRA, CRA, artifacts, LPIPS and FID."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param, progress
from steerwright.prompts.concept_table import read_concept_prompts
from steerwright.scoring.artifacts import FOLDS, ArtifactDetector
from steerwright.scoring.axis_judge import AxisJudge, axis_phrases, unknown_values
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.erasure_samples import (
    UNSTEERED,
    ErasureTarget,
    load_pictures,
    read_shots,
    reference_shots,
    scored_shots,
    timings,
)
from steerwright.scoring.fid import FidFeatures
from steerwright.scoring.labels import LabelScorer
from steerwright.scoring.metrics import PicturePairs, changes
from steerwright.scoring.perceptual import Perceptual
from steerwright.scoring.unlearning import ASKED, PICTURE, answers, flat_metrics, sequences, unlearning
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
    values = axis_phrases(asked, axes, SEASONS_WORLD)
    classifier = None
    if scorers["labels"] != "clip" and not unknown_values(values, SEASONS_WORLD):
        classifier = LabelScorer.load(scorers["labels"], SEASONS_WORLD)
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
    found = unlearning(seen, bootstrap, whole["features"], timings(scored), list(changes()))
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


# The pictures of erasing, judged one by one: what each shows, and how far it is from its unsteered picture.

SHOT = ("target", "method", "strength", "operating", "prompt_id", "prompt", "seed")
CHUNK = 128


class ErasureJudge:
    """What is measured of pictures in a folder; without `detector` its columns are null, without `features` absent."""

    def __init__(
        self,
        axes: AxisJudge,
        perceptual: Perceptual,
        detector: ArtifactDetector | None = None,
        features: FidFeatures | None = None,
    ) -> None:
        self.axes, self.perceptual, self.detector, self.features = axes, perceptual, detector, features

    def judged(
        self,
        shots: pl.DataFrame,
        folder: Path,
        prompts: pl.DataFrame,
        progress: Callable[[int, int], None] | None = None,
    ) -> pl.DataFrame:
        """One row per picture of `shots` (columns `SHOT` and path), beside the unsteered one of its prompt and seed.

        A file that several rows share, as an edit that does not act leaves the unsteered picture, is judged once.
        `prompts`: id, and a column for each axis, null where the prompt does not name it; template, if there is one.

        Columns: `SHOT`, template, the value that is seen on every axis and of what else the classifier knows,
        `asked_<axis>`, the `changes` such as lpips (0 for the unsteered picture itself), artifact_score and artifact
        (null without a detector), clip_target (null for unsteered pictures), features (a list of numbers, for FID).
        """
        files = shots.unique("path", keep="first", maintain_order=True)
        before = shots.filter(method=UNSTEERED).select(*PICTURE, pl.col("path").alias("unsteered"))
        pairs = shots.join(before, on=list(PICTURE), how="left", maintain_order="left")
        moved = pairs.filter(pl.col("path") != pl.col("unsteered")).unique("path", keep="first", maintain_order=True)
        measures = changes()
        total, seen = files.height + moved.height, []
        moves = [pl.DataFrame(schema={"path": pl.String, **dict.fromkeys(measures, pl.Float64)})]
        for done, part in _chunks(files):
            if progress is not None:
                progress(done, total)
            seen.append(self._seen(part, folder))
        for done, part in _chunks(moved):
            if progress is not None:
                progress(files.height + done, total)
            plain, now = (load_pictures(folder, part[column].to_list()) for column in ("unsteered", "path"))
            pair = PicturePairs(now, plain, self.perceptual)
            columns = [pl.Series(name, one.measure(pair), dtype=pl.Float64) for name, one in measures.items()]
            moves.append(part.select("path").with_columns(columns))
        if progress is not None:
            progress(total, total)
        asked = prompts.select(
            pl.col("id").alias("prompt_id"),
            *(["template"] if "template" in prompts.columns else []),
            *(pl.col(axis).cast(pl.String).alias(f"{ASKED}{axis}") for axis in self.axes.axes),
        )
        table = (
            shots.select(*SHOT, "path")
            .join(asked, on="prompt_id", how="left", maintain_order="left")
            .join(pl.concat(seen), on="path", how="left", maintain_order="left")
            .join(pl.concat(moves), on="path", how="left", maintain_order="left")
            .with_columns(pl.col(*measures).fill_null(0.0))
        )
        held = [_probability(axis) for axis in self.axes.axes]
        return table.with_columns(self._clip_target(table)).drop("path", *held)

    def _seen(self, shots: pl.DataFrame, folder: Path) -> pl.DataFrame:
        """What is seen of each picture by itself: path, labels, probabilities, artifact, features."""
        pixels = load_pictures(folder, shots["path"].to_list())
        seen = self.axes.see(pixels)
        strange: NDArray[np.float64] | list[None] = [None] * len(pixels)
        if self.detector is not None:
            strange = self.detector.scores(pixels, shots["prompt_id"].to_list())
        columns = [pl.Series(axis, values, dtype=pl.String) for axis, values in seen.values.items()]
        columns += [pl.Series(_probability(axis), found.double().numpy()) for axis, found in seen.probabilities.items()]
        columns.append(pl.Series("artifact_score", strange, dtype=pl.Float64))
        if self.features is not None:
            columns.append(pl.Series("features", self.features(pixels).tolist()))
        return shots.select("path").with_columns(columns).with_columns(artifact=pl.col("artifact_score") > 1)

    def _clip_target(self, table: pl.DataFrame) -> pl.Series:
        """CLIP's probability of each row's target; of several concepts, the largest."""
        found: list[float | None] = []
        held = {axis: table[_probability(axis)].to_list() for axis in self.axes.axes}
        parsed = {name: ErasureTarget.parse(name) for name in table["target"].drop_nulls().unique().to_list()}
        for row, name in enumerate(table["target"].to_list()):
            each = [] if name is None else [
                held[axis][row][self.axes.axes[axis].index(value)] for axis, value in parsed[name].concepts
            ]  # fmt: skip
            found.append(max(each) if each else None)
        return pl.Series("clip_target", found, dtype=pl.Float64)


def _probability(axis: str) -> str:
    return f"probability_{axis}"


def _chunks(table: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    for start in range(0, table.height, CHUNK):
        yield start, table.slice(start, CHUNK)
