"""Drawing on a picture and, with the same strokes, on the mask of what was drawn."""

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

# Scenes are drawn at twice their size and box-reduced: cheap anti-aliasing.
CANVAS = 128


class Brush:
    """Draws shapes on `picture`; shapes of the object also mark `mask` (255 inside)."""

    def __init__(self, picture: Image.Image, mask: Image.Image | None = None) -> None:
        self._layers: list[tuple[ImageDraw.ImageDraw, int | None]] = [(ImageDraw.Draw(picture), None)]
        if mask is not None:
            self._layers.append((ImageDraw.Draw(mask), 255))

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        for layer, fill in self._layers:
            layer.polygon(points, fill=fill or colour)

    def rectangle(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        for layer, fill in self._layers:
            layer.rectangle(box, fill=fill or colour)

    def ellipse(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        for layer, fill in self._layers:
            layer.ellipse(box, fill=fill or colour)

    def pie(self, box: tuple[float, float, float, float], start: float, end: float, colour: Colour) -> None:
        for layer, fill in self._layers:
            layer.pieslice(box, start, end, fill=fill or colour)

    def line(self, points: list[tuple[float, float]], colour: Colour, width: int) -> None:
        for layer, fill in self._layers:
            layer.line(points, fill=fill or colour, width=max(1, width))

    def dot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


def jitter(colour: Colour, rng: np.random.Generator, spread: int = 8) -> Colour:
    """The colour with each channel moved by at most `spread`."""
    moved = np.clip(np.asarray(colour) + rng.integers(-spread, spread + 1, 3), 0, 255)
    return int(moved[0]), int(moved[1]), int(moved[2])


def shade(colour: Colour, factor: float) -> Colour:
    """The colour times `factor` (below 1 darkens), clipped to 255."""
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue
