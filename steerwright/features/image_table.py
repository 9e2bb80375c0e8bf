"""The table of the images whose latents are looked at: what was asked for, and what a judge reads off each picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from steerwright.activations.shard_plan import CollectedPrompt
from steerwright.features.labels import ASKED
from steerwright.images import load_images, picture_name
from steerwright.prompts.concept_grid import COLUMNS
from steerwright.scoring.labels import LabelScorer

if TYPE_CHECKING:
    import polars as pl

_AT_ONCE = 256


def image_table(
    images: Sequence[CollectedPrompt], prompts: pl.DataFrame, repetitions: int, pictures: Path,
    classifier: LabelScorer | None, progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """One row per image, in order: image (0 to I - 1), id, prompt_id, repetition, seed, prompt, file, height, width.

    `images` are every prompt `repetitions` times (`repeated`), with their files in `pictures`. Then `asked_LABEL`: what
    the prompt says, null where it leaves it unsaid, for each axis of the table of `prompts`; and, with a `classifier`,
    `season`, `object` ...: what the picture shows.
    """
    import polars as pl

    axes = [name for name in prompts.columns if name not in COLUMNS]
    asked = {row["id"]: row for row in prompts.to_dicts()}
    files = [picture_name(one.id) for one in images]
    sizes: list[tuple[int, int]] = []
    found: dict[str, list[str]] = {}
    for start in range(0, len(files), _AT_ONCE):
        pixels = load_images([pictures / name for name in files[start : start + _AT_ONCE]])
        sizes += [pixels.shape[1:3]] * len(pixels)
        if classifier is not None:
            for label, names in classifier.predict(pixels).names.items():
                found.setdefault(label, []).extend(names)
        if progress is not None:
            progress(len(sizes), len(files))
    prompt_ids = [one.id.rpartition("-")[0] for one in images]
    return pl.DataFrame(
        {
            "image": range(len(images)),
            "id": [one.id for one in images],
            "prompt_id": prompt_ids,
            "repetition": [number % repetitions for number in range(len(images))],
            "seed": [one.seed for one in images],
            "prompt": [one.prompt for one in images],
            "file": files,
            "height": [height for height, _ in sizes],
            "width": [width for _, width in sizes],
            **{
                ASKED + axis: pl.Series([asked[id_][axis] for id_ in prompt_ids], dtype=pl.String, strict=False)
                for axis in axes
            },
            **found,
        }
    )
