"""A scene as pixels, and the mask of its object."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seasons.drawing import (
    CANVAS,
    DRAW,
    PAINT,
    SNOW,
    Brush,
    draw_falling,
    draw_outdoors,
    draw_room,
    jitter,
    tint,
)
from seasons.scene import Scene

LIT_ROOM = 0.35
INDOOR_SCALE = 0.88


def render(scene: Scene) -> NDArray[np.uint8]:
    """Pixels [64, 64, 3] of a scene; the same scene gives the same bytes."""
    return render_with_mask(scene)[0]


def render_with_mask(scene: Scene) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pixels [64, 64, 3] and the object's mask [64, 64] (true where at least half a pixel is the object)."""
    rng = np.random.default_rng(scene.seed)
    picture = draw_room(scene, rng) if scene.indoor else draw_outdoors(scene, rng, scene.horizon)
    mask = Image.new("L", (CANVAS, CANVAS))
    paint = jitter(PAINT[scene.colour], rng, 8)
    scale = scene.scale * (INDOOR_SCALE if scene.indoor else 1.0)
    DRAW[scene.object](Brush(picture, mask), scene.x * CANVAS, CANVAS * 0.94 + rng.uniform(-2, 2), scale, paint)
    if scene.season == "winter" and not scene.indoor:
        picture = _snow_cap(picture, mask, depth=4 + int(5 * scene.snow))
    if not scene.indoor:
        draw_falling(picture, scene, rng)
    picture = tint(picture, scene.time, LIT_ROOM if scene.indoor else 1.0)
    pixels = np.array(picture.reduce(2))
    return pixels, np.array(mask.reduce(2)) >= 128


def render_all(scenes: list[Scene]) -> NDArray[np.uint8]:
    """Pixels [len(scenes), 64, 64, 3]."""
    return np.stack([render(scene) for scene in scenes])


def _snow_cap(picture: Image.Image, mask: Image.Image, depth: int) -> Image.Image:
    """Snow on every upward face of the object: where the mask holds but the mask moved down by `depth` does not."""
    inside = np.asarray(mask) > 0
    lowered = np.zeros_like(inside)
    lowered[depth:] = inside[:-depth]
    pixels = np.array(picture)
    pixels[inside & ~lowered] = SNOW
    return Image.fromarray(pixels)
