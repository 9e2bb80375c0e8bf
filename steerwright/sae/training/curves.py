"""Curves of training, as the files that DVCLive writes: `SAE/METRIC.tsv` with the columns `step` and METRIC.

`dvc plots show FOLDER` draws them, and the extension for VS Code. The package itself is not needed for that, and cannot
take up its files again at a checkpoint's step. https://dvc.org/doc/dvclive/live/log_metric
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

STEP = "step"


class Curves:
    """Points by autoencoder, in the order of steps. Every point of one has the same metrics."""

    def __init__(self, points: Mapping[str, list[dict[str, float]]] | None = None) -> None:
        self.points: dict[str, list[dict[str, float]]] = {name: list(some) for name, some in (points or {}).items()}

    def add(self, sae: str, step: int, values: Mapping[str, float]) -> None:
        """A point after `step` optimiser steps. Raises ValueError for a step that is not later than the last one."""
        points = self.points.setdefault(sae, [])
        if points and points[-1][STEP] >= step:
            raise ValueError(f"step {step} of {sae} does not follow {points[-1][STEP]:g}")
        points.append({STEP: step, **values})

    def write(self, folder: Path) -> None:
        """Write all files again, each by rename; the same points give the same bytes."""
        for sae, points in self.points.items():
            for metric in points[0] if points else ():
                if metric != STEP:
                    _write(folder / sae / f"{metric}.tsv", metric, points)


def read_curves(folder: Path) -> pl.DataFrame:
    """All curves of a folder: sae, step (int64), and a column for each metric (float64; null where it has no point)."""
    import polars as pl

    frames = []
    for sae in sorted({path.parent for path in folder.glob("*/*.tsv")}):
        points: dict[int, dict[str, float]] = {}
        for path in sorted(sae.glob("*.tsv")):
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file, delimiter="\t"):
                    points.setdefault(int(row[STEP]), {})[path.stem] = float(row[path.stem])
        frames.append(pl.DataFrame([{"sae": sae.name, STEP: step, **points[step]} for step in sorted(points)]))
    return pl.concat(frames, how="diagonal") if frames else pl.DataFrame(schema={"sae": pl.String, STEP: pl.Int64})


def _write(path: Path, metric: str, points: list[dict[str, float]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow([STEP, metric])
    for point in points:
        if not math.isnan(point[metric]):
            writer.writerow([int(point[STEP]), f"{point[metric]:.9g}"])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text.getvalue(), encoding="utf-8")
    temporary.replace(path)
