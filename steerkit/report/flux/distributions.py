"""How the scores of a latent spread over images: a histogram, and images at chosen levels of it.

The images with the highest scores show a feature at its purest. Whether a latent means one thing is seen at its lower
levels (Bricken et al. 2023, "Towards Monosemanticity", sample them for the same reason).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

LEVELS = (0.9, 0.5, 0.1)
SCHEMA_LEVELS = {"latent": pl.Int64, "level": pl.Float64, "image": pl.Int64, "score": pl.Float64}
SCHEMA_BINS = {"latent": pl.Int64, "low": pl.Float64, "high": pl.Float64, "images": pl.Int64}


def score_levels(
    scores: NDArray[np.floating[Any]], latents: Sequence[int], levels: Sequence[float] = LEVELS, each: int = 3,
    above: float = 1e-4,
) -> pl.DataFrame:  # fmt: skip
    """Images whose score is nearest to shares of the latent's largest score: latent, level, image, score.

    `scores`: [images, len(latents)], column j of `latents[j]`; only images with a score > `above` count. Level 0.5 is
    half of the largest score. Each image belongs to its nearest level (the first of two), so that a level may have
    fewer than `each` or none; within one, ties go to the smaller image number and the largest score comes first.
    """
    values = _checked(scores, latents)
    rows: list[dict[str, Any]] = []
    for latent, column in zip(latents, values.T, strict=True):
        active = np.flatnonzero(column > above)
        targets = np.array(levels) * column.max(initial=0.0)
        distance = np.abs(column[active, None] - targets)
        nearest = distance.argmin(1)
        for place, level in enumerate(levels):
            own = np.flatnonzero(nearest == place)
            kept = active[own[np.argsort(distance[own, place], kind="stable")[:each]]]
            kept = np.sort(kept)
            rows += [{"latent": latent, "level": level, "image": int(image), "score": float(column[image])}
                     for image in kept[np.argsort(-column[kept], kind="stable")]]  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA_LEVELS)


def score_histogram(
    scores: NDArray[np.floating[Any]], latents: Sequence[int], bins: int = 24, above: float = 1e-4
) -> pl.DataFrame:
    """How many images have a score in [low, high): latent, low, high, images; the last bin holds its upper end.

    `scores`: [images, len(latents)], column j of `latents[j]`. Bins are equal parts of 0 to the latent's largest score;
    only scores > `above` count, so a latent that is nowhere active has no rows.
    """
    values = _checked(scores, latents)
    rows: list[dict[str, Any]] = []
    for latent, column in zip(latents, values.T, strict=True):
        active = column[column > above]
        if active.size == 0:
            continue
        counts, edges = np.histogram(active, bins=bins, range=(0.0, float(active.max())))
        rows += [{"latent": latent, "low": float(low), "high": float(high), "images": int(count)}
                 for (low, high), count in zip(pairwise(edges), counts, strict=True)]  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA_BINS)


def _checked(scores: NDArray[np.floating[Any]], latents: Sequence[int]) -> NDArray[np.float64]:
    values = np.asarray(scores, np.float64)
    if values.ndim != 2 or values.shape[1] != len(latents):
        raise ValueError(f"scores are [images, {len(latents)}], one column a latent, not {list(values.shape)}")
    return values
