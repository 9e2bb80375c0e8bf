"""What is measured of every picture beside what it shows: a number each, by name.

A new metric is one entry of `METRICS`. It is a column of the tables of winter and attention, has an interval in their
aggregates, a row in their reports and a column in the table of all methods. A `Change` is measured in latents too.
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


@dataclass(frozen=True, slots=True, eq=False)
class PicturePairs:
    """`pixels` beside `unsteered`, uint8 [n, H, W, 3]: picture i beside the unsteered one of its prompt and seed."""

    pixels: NDArray[np.uint8]
    unsteered: NDArray[np.uint8]
    perceptual: Perceptual


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a picture; `title` and `meaning` head its row in reports."""

    name: str
    title: str
    meaning: str
    measure: Callable[[MeasuredPictures], Sequence[float]]
    """[n], finite."""


@dataclass(frozen=True, slots=True)
class Change:
    """How far a picture is from its unsteered one: a number that is 0 for that one itself, which is never measured.

    Its mean over pictures that were to stay says what steering broke: latents have it as `NAME_elsewhere` (the target
    is neither asked for nor shown) and `NAME_unnamed` (it is not asked for).
    """

    name: str
    title: str
    meaning: str
    measure: Callable[[PicturePairs], Sequence[float]]
    """[n], finite."""


def _prompt_similarity(pictures: MeasuredPictures) -> list[float]:
    found: list[float] = (pictures.images * pictures.texts).sum(1).double().tolist()
    return found


def _lpips(pairs: PicturePairs) -> list[float]:
    found: list[float] = pairs.perceptual.distances(pairs.unsteered, pairs.pixels).double().tolist()
    return found


METRICS: dict[str, Metric | Change] = {
    made.name: made
    for made in (
        Metric("prompt_similarity", "Prompt similarity", "CLIP cosine to the original prompt", _prompt_similarity),
        Change("lpips", "LPIPS", "perceptual distance to the unsteered picture", _lpips),
    )
}


def changes() -> dict[str, Change]:
    """The metrics that compare with the unsteered picture."""
    return {name: metric for name, metric in METRICS.items() if isinstance(metric, Change)}


def measured(pictures: MeasuredPictures) -> dict[str, list[float]]:
    """Every metric's column for `pictures`."""
    found: dict[str, list[float]] = {}
    for name, metric in METRICS.items():
        if isinstance(metric, Metric):
            found[name] = list(metric.measure(pictures))
        elif pictures.unsteered is None:
            found[name] = [0.0] * len(pictures.pixels)
        else:
            found[name] = list(metric.measure(PicturePairs(pictures.pixels, pictures.unsteered, pictures.perceptual)))
    return found
