"""How often, how much and in which images each latent is active."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from steerwright.features.s_matrix import SMatrix, Statistic, latent_blocks
from steerwright.features.top_images import top_images

if TYPE_CHECKING:
    import polars as pl

ALIVE_ABOVE = 1e-4
"""An image's pooled activation above which a latent counts as active in it (seed 004)."""
BINS = ("dead", "rare", "common", "very common")
"""Latents that are active in no image; in less than 1 % of them; in less than 10 %; in more."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureStatistics:
    """`latents`: one row per latent, in order: latent, alive, bin, frequency (share of images in which it is active),
    mean, std (over images, of the pooled activation), largest, l0_share (its share of all active pairs of a latent and
    an image, so the sum over latents is 1). `top`: latent, rank from 1, image, score; only images in which the latent
    is active, the best first.
    """

    latents: pl.DataFrame
    top: pl.DataFrame


def statistics(
    s: SMatrix, alive_above: float = ALIVE_ABOVE, top: int = 20, statistic: Statistic = "max"
) -> FeatureStatistics:
    """Statistics over all images of one pooled activation; memory is that of a block of latents."""
    import polars as pl

    columns: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("count", "mean", "std", "largest", "latent", "rank", "image", "score")
    }
    for latents, block in latent_blocks(s.of(statistic)):
        spread, mean = torch.std_mean(block.double(), dim=1, correction=0)
        columns["count"].append(np.count_nonzero(block.numpy() > alive_above, axis=1))
        columns["mean"].append(mean.numpy())
        columns["std"].append(spread.numpy())
        columns["largest"].append(block.amax(1).double().numpy())
        best = top_images(block, top, alive_above)
        row, place = (best.image >= 0).nonzero()
        columns["latent"].append(latents[row])
        columns["rank"].append(place + 1)
        columns["image"].append(best.image[row, place])
        columns["score"].append(best.score[row, place].astype(np.float64))
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    count = whole["count"].astype(np.int64)
    frequency = count / len(s)
    frame = pl.DataFrame(
        {
            "latent": np.arange(s.size),
            "alive": count > 0,
            "bin": [BINS[place] for place in density_bin(frequency).tolist()],
            "frequency": frequency,
            "mean": whole["mean"],
            "std": whole["std"],
            "largest": whole["largest"],
            "l0_share": count / max(1, count.sum()),
        }
    )
    return FeatureStatistics(frame, pl.DataFrame({name: whole[name] for name in ("latent", "rank", "image", "score")}))


def density_bin(frequency: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place in BINS of each share of images."""
    return np.where(frequency > 0, 1 + np.searchsorted([0.01, 0.1], frequency, "right"), 0)
