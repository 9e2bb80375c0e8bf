"""Does a latent point at what it stands for? Its token maps against masks of the thing in the image.

Everything happens on the token grid: a mask is turned into the share of each token's cell that it covers. A token is
inside where at least half of its cell is (the tolerance: half a token). The pointing game (arXiv:1608.00507) asks
whether the map's maximum is inside; the energy inside is the share of the map's sum, each token weighted by its covered
share (arXiv:1910.01279).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
