"""What is measured of steered pictures: how far from the unsteered ones, how true to the prompt, and what they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steerwright.images import load_images
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.labels import LabelScorer
from steerwright.scoring.perceptual import Perceptual

if TYPE_CHECKING:
    import polars as pl

_AT_ONCE = 128


class PictureJudge:
    """Measures tables of steered pictures, a portion at a time.

    clip: cosine of a picture and its prompt; perceptual: LPIPS; labels: None where no classifier knows such pictures.
    """

    def __init__(self, scorers: Mapping[str, str]) -> None:
        """`scorers` as in params.yaml."""
        self._clip, self._perceptual = ClipScorer(scorers["clip"]), Perceptual(scorers["lpips"])
        self._labels = None if scorers["labels"] == "clip" else LabelScorer.load(scorers["labels"])

    def measured(
        self, table: pl.DataFrame, folder: Path, concepts: Mapping[int, NDArray[np.float32]] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> pl.DataFrame:  # fmt: skip
        """The rows of `plan_steered` with: lpips (to the unsteered picture), clip, clip_plain (cosine to the prompt of
        the picture and of the unsteered one), the labels that are seen (season, object ...), and, for latents with a
        vector among `concepts` (unit CLIP embeddings, float32 [e]), concept: the picture's cosine to it."""
        import polars as pl

        known: dict[str, NDArray[np.float32]] = {}
        seen: dict[str, dict[str, str]] = {}
        files = list(dict.fromkeys([*table["plain"], *table["file"]]))
        for start in range(0, len(files), _AT_ONCE):
            some = files[start : start + _AT_ONCE]
            pixels = load_images([folder / name for name in some])
            known |= zip(some, self._clip.images(pixels).numpy(), strict=True)
            if self._labels is not None:
                names = self._labels.predict(pixels).names
                for place, name in enumerate(some):
                    seen[name] = {label: values[place] for label, values in names.items()}
            if progress is not None:
                progress(start + len(some), len(files))
        prompts = list(dict.fromkeys(table["prompt"]))
        texts = dict(zip(prompts, self._clip.texts(prompts).numpy(), strict=True)) if prompts else {}
        distances: list[float] = []
        for start in range(0, len(table), _AT_ONCE):
            part = table[start : start + _AT_ONCE]
            pair = [load_images([folder / name for name in part[column]]) for column in ("file", "plain")]
            distances += self._perceptual.distances(*pair).tolist()
        columns: dict[str, list[float | None]] = {"lpips": [float(value) for value in distances]}
        for name, column in (("clip", "file"), ("clip_plain", "plain")):
            columns[name] = [
                float(known[file] @ texts[prompt]) for file, prompt in table.select(column, "prompt").iter_rows()
            ]
        if concepts is not None:
            columns["concept"] = [
                float(known[file] @ concepts[latent]) if latent in concepts else None
                for file, latent in table.select("file", "latent").iter_rows()
            ]
        labels = list(next(iter(seen.values()))) if seen else []
        out = table.with_columns(pl.Series(name, values, dtype=pl.Float64) for name, values in columns.items())
        return out.with_columns(
            pl.Series(label, [seen[file][label] for file in table["file"]], dtype=pl.String) for label in labels
        )


def concept_vectors(
    embeddings: NDArray[np.float32], examples: Mapping[int, list[int]]
) -> dict[int, NDArray[np.float32]]:
    """Of each latent the mean embedding of its images less that of all images, at length 1, float32 [e].

    Less the mean of all, because what every picture has in common is no concept.
    """
    middle = embeddings.mean(0, dtype=np.float64)
    found = {}
    for latent, images in examples.items():
        way = embeddings[images].mean(0, dtype=np.float64) - middle
        length = np.linalg.norm(way)
        if length > 0:
            found[latent] = (way / length).astype(np.float32)
    return found
