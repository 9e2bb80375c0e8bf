"""Activations of a latent over a picture and over denoising steps, as small pictures."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from steerwright.report.html.page import SHOWN, SMALL, data_uri

Maps = NDArray[np.floating[Any]]
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


def overlay(picture: Image.Image, values: Maps, top: float) -> Image.Image:
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
