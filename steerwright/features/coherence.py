"""Do the images in which a latent is most active resemble each other more than any images do?

Coherence is the mean pairwise cosine of the CLIP embeddings of a latent's best images, one of each prompt. By itself it
says little: images of a narrow set resemble each other anyhow. So it is compared with random sets of as many images of
as many prompts.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from steerwright.errors import UserError
from steerwright.features.prompt_shuffles import prompt_codes
from steerwright.features.s_matrix import latent_blocks
from steerwright.features.top_images import top_images
from steerwright.sae.products import weighted_rows
from steerwright.stats.significance import q_values

if TYPE_CHECKING:
    import polars as pl

MOST, LEAST = 20, 6
"""How many images of a latent are compared, and with how few it has no coherence (seed 004)."""
# Elements of a block of random sets: 64 MiB of float64.
_BLOCK = 2**23


@dataclass(frozen=True, slots=True, eq=False)
class NullCoherence:
    """Coherence of random sets: `sizes` int64 [sizes], ascending, and `draws` float64 [sizes, draws], sorted by row."""

    sizes: NDArray[np.int64]
    draws: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """[sizes]."""
        mean: NDArray[np.float64] = self.draws.mean(1)
        return mean

    @property
    def sd(self) -> NDArray[np.float64]:
        """[sizes]."""
        sd: NDArray[np.float64] = self.draws.std(1)
        return sd

    def interval(self, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Between which values so large a share of random sets lies: two arrays [sizes]."""
        low, high = np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2], axis=1)
        return low, high

    def p_values(self, place: NDArray[np.int64], coherence: NDArray[np.float64]) -> NDArray[np.float64]:
        """One-sided: (1 + random sets of that size that are as coherent) / (1 + draws); `place` is that of the size."""
        reached = np.empty(len(coherence))
        for size in np.unique(place):
            here = place == size
            # Rounding of sums: a set is as coherent as itself in whatever order it is summed up.
            below = np.searchsorted(self.draws[size], coherence[here] - 1e-12, "left")
            reached[here] = self.draws.shape[1] - below
        p: NDArray[np.float64] = (1 + reached) / (1 + self.draws.shape[1])
        return p


def null_coherence(
    embeddings: ArrayLike, prompts: Sequence[Hashable], sizes: Sequence[int], draws: int = 2000, seed: int = 0
) -> NullCoherence:
    """Coherence of `draws` random sets of each of `sizes`: random prompts without repetition, a random image of each.

    `embeddings` [images, e], of any length; `prompts` [images]. Sets of different sizes share their beginnings. Raises
    UserError where there are fewer prompts than a set needs.
    """
    wanted = np.unique(np.asarray(sizes, dtype=np.int64))
    codes, count = prompt_codes(prompts)
    if len(wanted) == 0 or wanted[0] < 2 or wanted[-1] > count:
        raise UserError(
            f"Random sets of {', '.join(map(str, wanted.tolist())) or 0} images of different prompts cannot be drawn "
            f"from {count} prompts. Sets have at least 2 images; generate images of more prompts."
        )
    unit = unit_rows(embeddings)
    order = np.argsort(codes, kind="stable")
    held = np.bincount(codes)
    begins = held.cumsum() - held
    generator = np.random.default_rng(seed)
    most = int(wanted[-1])
    found = np.empty((len(wanted), draws))
    at_once = max(1, _BLOCK // max(count, most * unit.shape[1]))
    for start in range(0, draws, at_once):
        some = min(at_once, draws - start)
        # The prompts with the smallest random numbers, in their order: a random sequence without repetition.
        chosen = np.argsort(generator.random((some, count)), axis=1)[:, :most]
        image = order[begins[chosen] + (generator.random((some, most)) * held[chosen]).astype(np.int64)]
        sums = unit[torch.from_numpy(image)].cumsum(1)[:, wanted - 1]
        found[:, start : start + some] = _pairwise(sums, torch.from_numpy(wanted)).T.numpy()
    return NullCoherence(wanted, np.sort(found, axis=1))


def coherence_of(embeddings: Tensor, images: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean pairwise cosine of each set of `images` [sets, places] (-1: unused); unit `embeddings` float64 [images, e].

    From the length of the sum: (|sum|^2 - m) / (m (m - 1)). NaN for sets of fewer than two.
    """
    members = torch.from_numpy(images)
    sums = weighted_rows(members, torch.ones_like(members, dtype=torch.float64), embeddings)
    coherence: NDArray[np.float64] = _pairwise(sums, (members >= 0).sum(1)).numpy()
    return coherence


def coherence(
    values: NDArray[np.float32],
    embeddings: ArrayLike,
    prompts: Sequence[Hashable],
    *,
    alive_above: float,
    most: int = MOST,
    least: int = LEAST,
    draws: int = 2000,
    seed: int = 0,
) -> pl.DataFrame:
    """Coherence of all latents of `values` [images, n] (one pooled activation), beside that of random sets.

    One row per latent: latent, images (how many count: the best of each prompt in which it is active, at most `most`),
    coherence (null with fewer than `least`), null_mean, null_sd, null_low, null_high (2.5 and 97.5 % of random sets of
    as many images), z, p_value (one-sided), q_value (Benjamini-Hochberg over all latents that have one).
    `embeddings` [images, e] and `prompts` [images] belong to the rows of `values`.
    """
    import polars as pl

    if not 2 <= least <= most:
        raise UserError(f"Coherence of {least} to {most} images is not defined; compare at least 2.")
    if not len(values) == len(prompts) == len(np.asarray(embeddings)):
        raise ValueError(f"{len(values)} images, {len(prompts)} prompts, {len(np.asarray(embeddings))} embeddings")
    unit = unit_rows(embeddings)
    codes, count = prompt_codes(prompts)
    most = min(most, count)
    found, size = np.full(values.shape[1], np.nan), np.zeros(values.shape[1], dtype=np.int64)
    for latents, block in latent_blocks(values):
        best = top_images(block, most, alive_above, codes)
        size[latents] = best.count
        found[latents] = coherence_of(unit, best.image)
    enough = size >= least
    frame = {"latent": np.arange(values.shape[1]), "images": size}
    names = ("coherence", "null_mean", "null_sd", "null_low", "null_high", "z", "p_value", "q_value")
    columns = {name: np.full(len(size), np.nan) for name in names}
    if enough.any():
        null = null_coherence(embeddings, prompts, np.unique(size[enough]).tolist(), draws, seed)
        place = np.searchsorted(null.sizes, size[enough])
        low, high = null.interval()
        mean, sd = null.mean[place], null.sd[place]
        here = found[enough]
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (here - mean) / sd
        p_values = null.p_values(place, here)
        filled = (here, mean, sd, low[place], high[place], z, p_values, q_values(p_values))
        for name, column in zip(names, filled, strict=True):
            columns[name][enough] = column
    return pl.DataFrame(frame | columns).with_columns(pl.col(names).fill_nan(None))


def unit_rows(embeddings: ArrayLike) -> Tensor:
    """Embeddings [images, e] at length 1, float64. UserError for one that has no direction."""
    rows = torch.from_numpy(np.array(embeddings, dtype=np.float64))
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    bad = ~(length.isfinite() & (length > 0)).squeeze(1)
    if bad.any():
        raise UserError(f"The embedding of image {int(bad.nonzero()[0])} has no direction; embed the images again.")
    return rows / length


def _pairwise(sums: Tensor, count: Tensor) -> Tensor:
    """Mean pairwise cosine [...] from sums [..., e] of `count` [...] unit vectors."""
    m = count.double()
    pairs = m * (m - 1)
    return torch.where(pairs > 0, (sums.square().sum(-1) - m) / pairs, torch.nan)
