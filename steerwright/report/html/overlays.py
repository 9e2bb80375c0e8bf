"""Where a latent is active in a picture: the token map as heat over the picture.

The scale is clipped at a percentile of the *positive* values, so that one hot token does not leave the rest dark, and
values above it are shown as the hottest colour. What stands beside an overlay has to say its limit: `heat_limit` gives
it, for one map or for all maps of a latent, which then can be compared with each other.
"""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steerwright.report.latents.heat import heat

Maps = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]
Ground = Literal["grey", "colour"]

# Faint activations tint, strong ones cover: opacity rises to its largest at this share of the limit and stays there.
COVERED_AT = 0.6
OPACITY = 0.9
DIM = 0.62


def heat_limit(maps: Iterable[Maps], percentile: float = 99.0) -> float:
    """The activation at which heat is full: a percentile of the positive values of all `maps`, each of any shape.

    0.0 where nothing is positive, which `overlay` draws without heat. Raises ValueError for a percentile outside
    (0, 100] and for values that are not finite.
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"the percentile is {percentile:g}; it has to lie above 0 and be at most 100")
    positive = []
    for values in maps:
        flat = np.asarray(values, np.float64).ravel()
        if not np.isfinite(flat).all():
            raise ValueError("a token map holds values that are not finite")
        positive.append(flat[flat > 0])
    joined = np.concatenate(positive) if positive else np.empty(0)
    return float(np.percentile(joined, percentile)) if joined.size else 0.0


def upsample(values: Maps, height: int, width: int, smooth: bool = False) -> NDArray[np.float64]:
    """A token map [h, w] at the size of its picture [height, width].

    Each pixel takes the token that it lies in or, `smooth`, blends the four tokens whose centres are nearest (beyond
    the outermost centres the edge goes on). Grids need not divide the picture evenly, nor be square.
    """
    source = np.asarray(values, np.float64)
    if source.ndim != 2 or 0 in source.shape:
        raise ValueError(f"a token map is [h, w] with at least one token, not {list(source.shape)}")
    down = (np.arange(height) + 0.5) * source.shape[0] / height
    across = (np.arange(width) + 0.5) * source.shape[1] / width
    if not smooth:
        nearest: NDArray[np.float64] = source[down.astype(int)[:, None], across.astype(int)[None, :]]
        return nearest
    rows = _blended(source, down - 0.5, axis=0)
    return _blended(rows, across - 0.5, axis=1)


def overlay(
    pixels: Pixels, values: Maps, limit: float, smooth: bool = False, ground: Ground = "grey"
) -> Pixels:  # fmt: skip
    """The picture [H, W, 3] with the heat of its token map [h, w] over it, uint8 [H, W, 3].

    Opacity and colour both rise with the activation, from nothing at 0 to a bright yellow at `limit` and above. On a
    `colour` ground a token that is not active leaves its pixels as they are; a `grey` ground is the picture in dim
    grey, on which heat cannot be taken for colours of the picture. Raises ValueError for other shapes.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"a picture is [H, W, 3], not {list(pixels.shape)}")
    share = np.clip(np.asarray(values, np.float64) / limit, 0, 1) if limit > 0 else np.zeros(np.shape(values))
    large = upsample(share, pixels.shape[0], pixels.shape[1], smooth)
    below = pixels.astype(np.float64)
    if ground == "grey":
        # The luma of ITU-R BT.601, as in Pillow's "L".
        below = (below @ np.array([0.299, 0.587, 0.114]))[..., None].repeat(3, 2) * DIM
    weight = OPACITY * np.clip(large / COVERED_AT, 0, 1)[..., None]
    return (below * (1 - weight) + heat(large, 1.0) * weight).round().astype(np.uint8)


def _blended(source: NDArray[np.float64], places: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Values at fractional `places` along an axis, linear between neighbours and constant beyond the ends."""
    last = source.shape[axis] - 1
    held = np.clip(places, 0, last)
    lower = np.minimum(held.astype(int), max(last - 1, 0))
    upper = np.minimum(lower + 1, last)
    part = held - lower
    part = part[:, None] if axis == 0 else part[None, :]
    blended: NDArray[np.float64] = source.take(lower, axis) * (1 - part) + source.take(upper, axis) * part
    return blended
