"""Does a latent point at what it stands for? Its token maps against masks of the thing in the image.

Everything happens on the token grid: a mask is turned into the share of each token's cell that it covers. A token is
inside where at least half of its cell is (the tolerance: half a token). The pointing game (arXiv:1608.00507) asks
whether the map's maximum is inside; the energy inside is the share of the map's sum, each token weighted by its covered
share (arXiv:1910.01279).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Pointing:
    """Over `images` images in which the latent is active at all and the region is there.

    `hits`: share of them whose map is largest inside the region; where several tokens are equally large, the share of
    those. `base_rate`: the same for a token at random, the mean share of tokens inside. `energy`: mean share of the
    map's sum inside the region; `base_energy`: that of a map that is equal everywhere, the mean share covered. All NaN
    where there are no images.
    """

    images: int
    hits: float
    base_rate: float
    energy: float
    base_energy: float


def pointing_game(maps: NDArray[np.floating], masks: NDArray[np.bool_]) -> Pointing:
    """Of a latent's activations `maps` [images, h, w] against `masks` [images, H, W] of the same images.

    Negative activations count as none. Images are left out where the map is zero, and where no token, or every one, is
    inside: there is nothing to miss.
    """
    if maps.ndim != 3 or masks.ndim != 3 or len(maps) != len(masks):
        raise ValueError(f"maps {maps.shape} and masks {masks.shape} are not of the same images")
    heat = np.maximum(maps, 0).astype(np.float64)
    covered = cell_shares(masks, maps.shape[1:])
    inside = covered >= 0.5
    taking = (heat.sum((1, 2)) > 0) & inside.any((1, 2)) & ~inside.all((1, 2))
    heat, covered, inside = heat[taking], covered[taking], inside[taking]
    if not len(heat):
        return Pointing(0, np.nan, np.nan, np.nan, np.nan)
    largest = heat == heat.max((1, 2), keepdims=True)
    hits = (largest & inside).sum((1, 2)) / largest.sum((1, 2))
    energy = (heat * covered).sum((1, 2)) / heat.sum((1, 2))
    means = (hits.mean(), inside.mean(), energy.mean(), covered.mean())
    return Pointing(len(heat), *(float(value) for value in means))


def regions(masks: NDArray[np.bool_]) -> Mapping[str, NDArray[np.bool_]]:
    """The region of the object, `masks` [images, H, W] themselves, and the background, all else."""
    return {"object": masks, "background": ~masks}


def best_region(maps: NDArray[np.floating], masks: NDArray[np.bool_]) -> tuple[str, Pointing] | None:
    """Whether a latent points at the object or at the background: where its hits exceed the base rate by more.

    None where neither can be said (it is active in no image that has both).
    """
    found = {name: pointing_game(maps, region) for name, region in regions(masks).items()}
    known = {name: pointing for name, pointing in found.items() if pointing.images}
    if not known:
        return None
    name = max(known, key=lambda region: known[region].hits - known[region].base_rate)
    return name, known[name]


def cell_shares(masks: NDArray[np.bool_], grid: tuple[int, ...]) -> NDArray[np.float64]:
    """Share of each cell of a `grid` (h, w) that `masks` [images, H, W] cover, [images, h, w].

    Cells need not be whole pixels: by area. The grid may be finer than the mask.
    """
    down, across = (_overlap(size, cells) for size, cells in zip(masks.shape[1:], grid, strict=True))
    shares: NDArray[np.float64] = np.einsum("hy,nyx,wx->nhw", down, masks.astype(np.float64), across, optimize=True)
    return shares


def _overlap(pixels: int, cells: int) -> NDArray[np.float64]:
    """Share of each cell that each pixel fills, [cells, pixels]; rows sum to 1."""
    edges = np.arange(cells + 1) * pixels / cells
    pixel = np.arange(pixels)
    shared = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    shares: NDArray[np.float64] = np.maximum(shared, 0) * cells / pixels
    return shares


# What share of the selected latents can be interpreted, against any latents, and whether coherence tells which.
#
# A latent counts as interpretable when its best area under the ROC curve for a label reaches a bar. Nothing of this can
# be known where images have no labels.

BAR = 0.9
Z95 = 1.959963984540054
# Elements of a block of resamples: 32 MiB of float64.
_BLOCK = 2**22

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interpretability:
    """`share` of the `selected` latents, and of all `eligible` ones, whose area reaches the bar.

    `random_low` and `random_high`: between which shares 95 % of random choices of as many eligible latents lie.
    `p_value` is the probability that a random choice has at least the share of the selected ones (hypergeometric).
    `shuffled_share`: the share of eligible latents that reach the bar for some label when images are shuffled.
    `rank_correlation` (Spearman) between coherence and area over eligible latents, with its 95 % bootstrap interval.
    """

    selected: int
    share: float
    eligible: int
    eligible_share: float
    random_low: float
    random_high: float
    p_value: float
    shuffled_share: float | None
    rank_correlation: float
    correlation_low: float
    correlation_high: float


def interpretability(
    labels: pl.DataFrame,
    coherence: pl.DataFrame,
    selected: Sequence[int],
    *,
    bar: float = BAR,
    by: str = "z",
    resamples: int = 1000,
    seed: int = 0,
) -> Interpretability:
    """From the frames of `label_matches` and `coherence`, and the latents that were selected.

    Eligible latents are those that selection could have chosen: with a coherence, and an area.
    """
    from scipy.stats import hypergeom

    table = coherence.join(labels, on="latent").drop_nulls([by, "auroc"])
    reaches = (table["auroc"] >= bar).to_numpy()
    chosen = table["latent"].is_in(list(selected)).to_numpy()
    if not chosen.any():
        raise ValueError("none of the selected latents has a coherence and an area")
    chance = hypergeom(len(table), int(reaches.sum()), int(chosen.sum()))
    hits, count = int(reaches[chosen].sum()), int(chosen.sum())
    score, area = table[by].to_numpy(), table["auroc"].to_numpy()
    correlation = _spearman(score, area, np.ones((1, len(table))))[0]
    low, high = _correlation_interval(score, area, resamples, seed)
    shuffled = table["shuffled"].drop_nulls().to_numpy()
    return Interpretability(
        selected=count,
        share=hits / count,
        eligible=len(table),
        eligible_share=float(reaches.mean()),
        random_low=float(chance.ppf(0.025)) / count,
        random_high=float(chance.ppf(0.975)) / count,
        p_value=float(chance.sf(hits - 1)),
        shuffled_share=float((shuffled >= bar).mean()) if len(shuffled) else None,
        rank_correlation=float(correlation),
        correlation_low=low,
        correlation_high=high,
    )


def area_by_score(labels: pl.DataFrame, coherence: pl.DataFrame, *, groups: int = 10, bar: float = BAR, by: str = "z"
) -> pl.DataFrame:  # fmt: skip
    """Eligible latents in `groups` of about equally many by their score, the least coherent first, for a figure.

    group from 1, latents, low and high (range of the score), mean_auroc, share (that reach the bar), share_low and
    share_high (Wilson's 95 % interval).
    """
    import polars as pl

    table = coherence.join(labels, on="latent").drop_nulls([by, "auroc"]).sort([by, "latent"])
    rows = []
    for number, places in enumerate(np.array_split(np.arange(len(table)), groups), 1):
        if not len(places):
            continue
        part = table[places.tolist()]
        hits = int((part["auroc"] >= bar).sum())
        low, high = wilson_interval(hits, len(part))
        rows.append(
            (number, len(part), part[by][0], part[by][-1], part["auroc"].to_numpy().mean(), hits / len(part), low, high)
        )
    kinds = dict.fromkeys(("low", "high", "mean_auroc", "share", "share_low", "share_high"), pl.Float64)
    return pl.DataFrame(rows, schema={"group": pl.Int64, "latents": pl.Int64, **kinds}, orient="row")


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (1927): sensible also for 0 or all of a few. `count` is at least 1."""
    share, squared = hits / count, Z95**2
    centre = (share + squared / (2 * count)) / (1 + squared / count)
    half = Z95 / (1 + squared / count) * math.sqrt(share * (1 - share) / count + squared / (4 * count**2))
    return 0.0 if hits == 0 else max(0.0, centre - half), 1.0 if hits == count else min(1.0, centre + half)


def _correlation_interval(score: Floats, area: Floats, resamples: int, seed: int) -> tuple[float, float]:
    """95 % percentile interval of the rank correlation, latents drawn with replacement."""
    generator, count, found = np.random.default_rng(seed), len(score), []
    at_once = max(1, _BLOCK // count)
    for start in range(0, resamples, at_once):
        some = min(at_once, resamples - start)
        weights = generator.multinomial(count, np.full(count, 1 / count), size=some).astype(np.float64)
        found.append(_spearman(score, area, weights))
    known = np.concatenate(found)
    known = known[~np.isnan(known)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def _spearman(first: Floats, second: Floats, weights: Floats) -> Floats:
    """Rank correlations [draws] of values [n] that count `weights` [draws, n] times; NaN where nothing varies."""
    a, b = _centred_ranks(first, weights), _centred_ranks(second, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation: Floats = (weights * a * b).sum(1) / np.sqrt((weights * a * a).sum(1) * (weights * b * b).sum(1))
        return correlation


def _centred_ranks(values: Floats, weights: Floats) -> Floats:
    """Ranks [draws, n] less their mean; ties share their mean rank."""
    _, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    held = np.add.reduceat(weights[:, order], starts, axis=1)
    rank = held.cumsum(1) - held / 2
    centred: Floats = rank[:, place] - weights.sum(1, keepdims=True) / 2
    return centred
