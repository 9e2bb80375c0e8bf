"""What is measured of every picture beside what it shows: a number each, by name.

A new metric is a `Metric` in `METRICS`: it is a column of the tables of winter and attention, has an interval in their
aggregates, and a row in their reports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from steerwright.scoring.perceptual import Perceptual


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredPictures:
    """Pictures of one condition, and what their measures are taken from.

    `pixels` and `unsteered` uint8 [n, H, W, 3], picture i beside the unsteered one of its prompt and seed; None where
    these are the unsteered ones. `images` and `texts` [n, e]: CLIP's unit embeddings of the pictures and their prompts.
    """

    pixels: NDArray[np.uint8]
    unsteered: NDArray[np.uint8] | None
    images: Tensor
    texts: Tensor
    perceptual: Perceptual


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a picture; `title` and `meaning` head its row in reports."""

    name: str
    title: str
    meaning: str
    measure: Callable[[MeasuredPictures], Sequence[float]]
    """[n], finite."""


def _prompt_similarity(pictures: MeasuredPictures) -> list[float]:
    found: list[float] = (pictures.images * pictures.texts).sum(1).double().tolist()
    return found


def _lpips(pictures: MeasuredPictures) -> list[float]:
    if pictures.unsteered is None:
        return [0.0] * len(pictures.pixels)
    found: list[float] = pictures.perceptual.distances(pictures.unsteered, pictures.pixels).double().tolist()
    return found


METRICS: dict[str, Metric] = {
    made.name: made
    for made in (
        Metric("prompt_similarity", "Prompt similarity", "CLIP cosine to the original prompt", _prompt_similarity),
        Metric("lpips", "LPIPS", "perceptual distance to the unsteered picture", _lpips),
    )
}


def measured(pictures: MeasuredPictures) -> dict[str, list[float]]:
    """Every metric's column for `pictures`."""
    return {name: list(metric.measure(pictures)) for name, metric in METRICS.items()}
