"""The pictures of erasing, judged one by one: what each shows, and how far it is from its unsteered picture."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steerwright.scoring.artifacts import ArtifactDetector
from steerwright.scoring.axis_judge import AxisJudge
from steerwright.scoring.erasure_target import ErasureTarget
from steerwright.scoring.fid import FidFeatures
from steerwright.scoring.latent_shots import load_pictures
from steerwright.scoring.perceptual import Perceptual
from steerwright.scoring.unlearning import ASKED, PICTURE, UNSTEERED

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
        `asked_<axis>`, lpips (0 for the unsteered picture itself), artifact_score and artifact (null without a
        detector), clip_target (null for unsteered pictures), features (a list of numbers, for FID).
        """
        files = shots.unique("path", keep="first", maintain_order=True)
        before = shots.filter(method=UNSTEERED).select(*PICTURE, pl.col("path").alias("unsteered"))
        pairs = shots.join(before, on=list(PICTURE), how="left", maintain_order="left")
        moved = pairs.filter(pl.col("path") != pl.col("unsteered")).unique("path", keep="first", maintain_order=True)
        total, seen, distances = files.height + moved.height, [], [pl.DataFrame(schema=_DISTANCES)]
        for done, part in _chunks(files):
            if progress is not None:
                progress(done, total)
            seen.append(self._seen(part, folder))
        for done, part in _chunks(moved):
            if progress is not None:
                progress(files.height + done, total)
            values = self.perceptual.distances(
                load_pictures(folder, part["unsteered"].to_list()), load_pictures(folder, part["path"].to_list())
            )
            distances.append(part.select("path").with_columns(pl.Series("lpips", values.double().numpy())))
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
            .join(pl.concat(distances), on="path", how="left", maintain_order="left")
            .with_columns(pl.col("lpips").fill_null(0.0))
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


_DISTANCES = {"path": pl.String, "lpips": pl.Float64}


def _probability(axis: str) -> str:
    return f"probability_{axis}"


def _chunks(table: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    for start in range(0, table.height, CHUNK):
        yield start, table.slice(start, CHUNK)
