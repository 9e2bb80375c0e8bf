"""Which latents to show, and in which images: the most coherent ones, each in images of its own."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerwright.errors import UserError
from steerwright.features.prompt_shuffles import prompt_codes
from steerwright.features.s_matrix import latent_blocks
from steerwright.features.top_images import top_images

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger(__name__)

# Candidates whose images are looked up at once.
_AT_ONCE = 256


def select_features(
    coherence: pl.DataFrame,
    values: NDArray[np.float32],
    prompts: Sequence[Hashable],
    *,
    alive_above: float,
    count: int = 10,
    examples: int = 4,
    most: int = 20,
    by: Literal["z", "coherence"] = "z",
    responsiveness: Mapping[int, float] | None = None,
    weight: float = 0.0,
    directions: Tensor | None = None,
    duplicates_above: float | None = None,
) -> pl.DataFrame:
    """The `count` best latents with `examples` images each: rank from 1, latent, coherence, z, null_low, null_high,
    score, examples (numbers of images, the most active first).

    `coherence` is the frame of that name, `values` [images, n] the pooled activation that it was computed from, and
    `prompts` [images]. Latents without a coherence (too few images) are never chosen. They are ranked by `by`; of equal
    ones the lower number first. With `responsiveness` (latent -> how much steering by it changes pictures) and a
    `weight` above 0, only measured latents are ranked, by (1 - weight) times their percentile among those by `by` plus
    `weight` times that by responsiveness. With `directions` [n, d], latents whose direction has a cosine above
    `duplicates_above` with a chosen one's are passed over.

    Examples are images of different prompts in which the latent is active, among its `most` best ones, and no image
    stands for two latents: a latent that is left with fewer than `examples` is passed over. Raises UserError where none
    is left; where fewer than `count` are, that is logged.
    """
    if not 0 <= weight <= 1:
        raise UserError(f"The weight of responsiveness is {weight}; it has to be from 0 to 1.")
    if weight > 0 and responsiveness is None:
        raise UserError(f"Responsiveness has a weight of {weight}, but was not measured; measure it, or set 0.")
    latents, score = _ranking(coherence, by, responsiveness if weight > 0 else None, weight)
    chosen: list[tuple[int, float, list[int]]] = []
    used: set[int] = set()
    duplicates = short = 0
    for latent, images in _candidates(values, latents, most, alive_above, prompt_codes(prompts)[0]):
        if len(chosen) == count:
            break
        if _is_duplicate(latent, [other for other, _, _ in chosen], directions, duplicates_above):
            duplicates += 1
            continue
        own = [image for image in images if image not in used][:examples]
        if len(own) < examples:
            short += 1
            continue
        used.update(own)
        chosen.append((latent, score[latent], own))
    passed = f"{duplicates} near-duplicates and {short} latents without {examples} images of their own were passed over"
    if not chosen:
        raise UserError(
            f"No latent can be selected: {len(latents)} have a coherence, {passed}. Generate more images, of more "
            "prompts, or ask for fewer examples."
        )
    if len(chosen) < count:
        log.warning(
            "%d features are selected, not %d: %d have a coherence, %s", len(chosen), count, len(latents), passed
        )
    return _frame(coherence, chosen)


def _ranking(
    coherence: pl.DataFrame, by: str, responsiveness: Mapping[int, float] | None, weight: float
) -> tuple[NDArray[np.int64], dict[int, float]]:
    """Latents, the best first, and the score of each."""
    import polars as pl

    held = coherence.filter(pl.col(by).is_not_null())
    latent, score = held["latent"].to_numpy(), held[by].to_numpy()
    if responsiveness is not None:
        measured = np.array([number in responsiveness for number in latent.tolist()], dtype=bool)
        latent, score = latent[measured], score[measured]
        response = np.array([responsiveness[number] for number in latent.tolist()])
        score = (1 - weight) * _percentile(score) + weight * _percentile(response)
    order = np.lexsort((latent, -score))
    return latent[order].astype(np.int64), dict(zip(latent.tolist(), score.tolist(), strict=True))


def _percentile(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean share of the others that are smaller, equal ones counting half; from 0 to 1."""
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") - 1
    return below / 2 / max(1, len(values) - 1)


def _candidates(
    values: NDArray[np.float32], latents: NDArray[np.int64], most: int, alive_above: float, prompt: NDArray[np.int64]
) -> Iterator[tuple[int, list[int]]]:
    """Each latent in order, with its best images of different prompts, a few latents at a time."""
    for start in range(0, len(latents), _AT_ONCE):
        part = latents[start : start + _AT_ONCE]
        for numbers, block in latent_blocks(values, part):
            best = top_images(block, most, alive_above, prompt)
            for latent, images in zip(numbers.tolist(), best.image, strict=True):
                yield latent, images[images >= 0].tolist()


def _is_duplicate(latent: int, chosen: list[int], directions: Tensor | None, above: float | None) -> bool:
    if directions is None or above is None or not chosen:
        return False
    here, others = directions[latent].double(), directions[torch.tensor(chosen)].double()
    return bool((torch.nn.functional.cosine_similarity(others, here.unsqueeze(0), dim=1) > above).any())


def _frame(coherence: pl.DataFrame, chosen: list[tuple[int, float, list[int]]]) -> pl.DataFrame:
    import polars as pl

    picked = pl.DataFrame(
        {
            "rank": range(1, len(chosen) + 1),
            "latent": [latent for latent, _, _ in chosen],
            "score": [score for _, score, _ in chosen],
            "examples": [images for _, _, images in chosen],
        },
        schema={"rank": pl.Int64, "latent": pl.Int64, "score": pl.Float64, "examples": pl.List(pl.Int64)},
    )
    facts = coherence.select("latent", "coherence", "z", "null_low", "null_high")
    joined = picked.join(facts, on="latent", how="left", maintain_order="left")
    return joined.select("rank", "latent", "coherence", "z", "null_low", "null_high", "score", "examples")
