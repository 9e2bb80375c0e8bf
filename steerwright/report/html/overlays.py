"""Where a latent is active in a picture: the token map as heat over the picture.

The scale is clipped at a percentile of the *positive* values, so that one hot token does not leave the rest dark, and
values above it are shown as the hottest colour. What stands beside an overlay has to say its limit: `heat_limit` gives
it, for one map or for all maps of a latent, which then can be compared with each other.
"""

import io
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from steerwright.report.html.page import SHOWN, SMALL, data_uri

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


# Activations of a latent over a picture and over denoising steps, as small pictures.

# From the dark of what is not active over red to a bright yellow: the same on a light and on a dark page.
SCALE = ("#14151a", "#4a1633", "#8e2430", "#cf4b22", "#f08a1d", "#fbd24a", "#fdf6c3")
SHOWN_STEPS = 10
TILE = 8


def heat(values: Maps, top: float) -> NDArray[np.uint8]:
    """Colours [h, w, 3] of values [h, w] on a scale from 0 to `top`."""
    stops = np.array([[int(one[i : i + 2], 16) for i in (1, 3, 5)] for one in SCALE], dtype=np.float64)
    place = np.clip(np.asarray(values, np.float64) / top if top > 0 else np.zeros(values.shape), 0, 1)
    position = place * (len(stops) - 1)
    lower = np.minimum(position.astype(int), len(stops) - 2)
    part = (position - lower)[..., None]
    colours: NDArray[np.uint8] = (stops[lower] * (1 - part) + stops[lower + 1] * part).round().astype(np.uint8)
    return colours


def grey_overlay(picture: Image.Image, values: Maps, top: float) -> Image.Image:
    """The picture in dim grey with the heat of `values` [h, w] over it; the size of the picture, at most SHOWN."""
    base = picture.convert("RGB")
    if max(base.size) > SMALL:
        base.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    grey = np.asarray(base.convert("L"), np.float64)[..., None] * 0.62
    share = Image.fromarray(np.clip(values / top if top > 0 else np.zeros(values.shape), 0, 1).astype(np.float32))
    large = np.asarray(share.resize(base.size, Image.Resampling.BILINEAR), np.float64)
    # Faint activations tint, strong ones cover.
    weight = np.clip(large * 1.6, 0, 0.9)[..., None]
    return Image.fromarray((grey * (1 - weight) + heat(large, 1.0) * weight).round().astype(np.uint8))


def shown_steps(steps: Sequence[int], most: int = SHOWN_STEPS) -> list[int]:
    """Places in `steps`, evenly over them, the first and the last among them."""
    if len(steps) <= most:
        return list(range(len(steps)))
    return sorted({round(place * (len(steps) - 1) / (most - 1)) for place in range(most)})


def strip(maps: Maps, top: float) -> Image.Image:
    """Heat of maps [steps, h, w] side by side; a place between two has no colour."""
    count, height, width = maps.shape
    factor = max(1, TILE // max(height, width))
    height, width = height * factor, width * factor
    gap = max(1, width // 8)
    out = np.zeros((height, count * (width + gap) - gap, 4), np.uint8)
    for place, one in enumerate(maps):
        left = place * (width + gap)
        out[:, left : left + width, :3] = heat(one, top).repeat(factor, 0).repeat(factor, 1)
        out[:, left : left + width, 3] = 255
    return Image.fromarray(out, "RGBA")


def png(picture: Image.Image) -> str:
    """A data URI."""
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=False)
    return data_uri("image/png", out.getvalue())
