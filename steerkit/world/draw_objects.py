"""The eight objects. Each is drawn standing on (cx, by), `s` times its own size, with one body colour.

An object fills about 60 % of the image's height: smaller ones vanish in a latent grid of 16x16.
"""

from collections.abc import Callable

from steerkit.world.brush import Brush, Colour, shade

PAINT: dict[str, Colour] = {
    "red": (208, 44, 38),
    "blue": (40, 84, 212),
    "yellow": (240, 204, 44),
    "purple": (146, 58, 182),
}
WOOD: Colour = (112, 72, 48)
STONE: Colour = (152, 150, 146)
LIT: Colour = (250, 234, 160)
DARK: Colour = (34, 32, 36)


def _house(brush: Brush, cx: float, by: float, s: float, paint: Colour) -> None:
    half, wall, roof = 31 * s, 38 * s, 30 * s
    brush.rectangle((cx - half, by - wall, cx + half, by), paint)
    brush.polygon([(cx - half * 1.2, by - wall), (cx, by - wall - roof), (cx + half * 1.2, by - wall)], WOOD)
    brush.rectangle((cx - 7 * s, by - 23 * s, cx + 7 * s, by), shade(WOOD, 0.6))
    for side in (-1, 1):
        x = cx + side * 19 * s
        brush.rectangle((x - 6 * s, by - 29 * s, x + 6 * s, by - 16 * s), LIT)


def _car(brush: Brush, cx: float, by: float, s: float, paint: Colour) -> None:
    brush.polygon(
        [
            (cx - 26 * s, by - 27 * s),
            (cx - 17 * s, by - 49 * s),
            (cx + 16 * s, by - 49 * s),
            (cx + 28 * s, by - 27 * s),
        ],
        paint,
    )
    brush.rectangle((cx - 43 * s, by - 30 * s, cx + 43 * s, by - 9 * s), paint)
    brush.polygon(
        [
            (cx - 20 * s, by - 29 * s),
            (cx - 13 * s, by - 44 * s),
            (cx + 13 * s, by - 44 * s),
            (cx + 21 * s, by - 29 * s),
        ],
        (190, 215, 230),
    )
    for side in (-1, 1):
        brush.dot(cx + side * 24 * s, by - 9 * s, 11 * s, DARK)
        brush.dot(cx + side * 24 * s, by - 9 * s, 5 * s, (172, 172, 172))


def _boat(brush: Brush, cx: float, by: float, s: float, paint: Colour) -> None:
    brush.polygon(
        [(cx - 41 * s, by - 19 * s), (cx + 41 * s, by - 19 * s), (cx + 27 * s, by + 1 * s), (cx - 27 * s, by + 1 * s)],
        (126, 80, 48),
    )
    brush.line([(cx, by - 19 * s), (cx, by - 80 * s)], shade(WOOD, 0.8), int(4 * s))
    brush.polygon([(cx + 3 * s, by - 79 * s), (cx + 37 * s, by - 25 * s), (cx + 3 * s, by - 25 * s)], paint)
    brush.polygon([(cx - 4 * s, by - 69 * s), (cx - 27 * s, by - 25 * s), (cx - 4 * s, by - 25 * s)], paint)


def _horse(brush: Brush, cx: float, by: float, s: float, paint: Colour) -> None:
    for leg in (-23, -13, 11, 21):
        brush.rectangle((cx + (leg - 4) * s, by - 29 * s, cx + (leg + 4) * s, by), shade(paint, 0.8))
    brush.ellipse((cx - 33 * s, by - 50 * s, cx + 29 * s, by - 21 * s), paint)
    brush.polygon(
        [
            (cx + 12 * s, by - 43 * s),
            (cx + 24 * s, by - 73 * s),
            (cx + 37 * s, by - 66 * s),
            (cx + 29 * s, by - 30 * s),
        ],
        paint,
    )
    brush.ellipse((cx + 21 * s, by - 77 * s, cx + 49 * s, by - 60 * s), paint)
    brush.polygon([(cx + 23 * s, by - 72 * s), (cx + 26 * s, by - 85 * s), (cx + 32 * s, by - 73 * s)], paint)
    brush.line([(cx - 31 * s, by - 42 * s), (cx - 43 * s, by - 15 * s)], shade(paint, 0.5), int(7 * s))
    brush.line([(cx + 23 * s, by - 73 * s), (cx + 10 * s, by - 44 * s)], shade(paint, 0.5), int(7 * s))


def _cat(brush: Brush, cx: float, by: float, s: float, paint: Colour) -> None:
    brush.line(
        [(cx + 18 * s, by - 6 * s), (cx + 38 * s, by - 11 * s), (cx + 35 * s, by - 36 * s)],
        shade(paint, 0.75),
        int(8 * s),
    )
    brush.ellipse((cx - 24 * s, by - 44 * s, cx + 24 * s, by), paint)
    brush.ellipse((cx - 21 * s, by - 71 * s, cx + 21 * s, by - 34 * s), paint)
    for side in (-1, 1):
        brush.polygon(
            [(cx + side * 20 * s, by - 57 * s), (cx + side * 18 * s, by - 83 * s), (cx + side * 4 * s, by - 67 * s)],
            paint,
        )
        brush.dot(cx + side * 9 * s, by - 54 * s, 4 * s, DARK)
    brush.dot(cx, by - 46 * s, 3 * s, (250, 170, 170))


def _tent(brush: Brush, cx: float, by: float, s: float, paint: Colour) -> None:
    brush.polygon([(cx - 45 * s, by), (cx, by - 63 * s), (cx + 45 * s, by)], paint)
    brush.polygon([(cx - 14 * s, by), (cx, by - 42 * s), (cx + 14 * s, by)], shade(paint, 0.3))


def _tower(brush: Brush, cx: float, by: float, s: float, paint: Colour) -> None:
    half = 15 * s
    brush.rectangle((cx - half, by - 62 * s, cx + half, by), STONE)
    brush.rectangle((cx - half * 1.35, by - 69 * s, cx + half * 1.35, by - 58 * s), shade(STONE, 0.85))
    brush.polygon([(cx - half * 1.5, by - 68 * s), (cx, by - 94 * s), (cx + half * 1.5, by - 68 * s)], paint)
    brush.rectangle((cx - half, by - 38 * s, cx + half, by - 27 * s), paint)
    brush.rectangle((cx - 5 * s, by - 17 * s, cx + 5 * s, by), shade(WOOD, 0.6))
    brush.rectangle((cx - 4 * s, by - 54 * s, cx + 4 * s, by - 43 * s), LIT)


def _umbrella(brush: Brush, cx: float, by: float, s: float, paint: Colour) -> None:
    brush.line([(cx, by), (cx, by - 76 * s)], shade(WOOD, 0.9), int(5 * s))
    box = (cx - 44 * s, by - 82 * s, cx + 44 * s, by - 2 * s)
    for index in range(5):
        panel = paint if index % 2 == 0 else (244, 240, 232)
        brush.pie(box, 180 + 36 * index, 216 + 36 * index, panel)


DRAW: dict[str, Callable[[Brush, float, float, float, Colour], None]] = {
    "house": _house,
    "car": _car,
    "boat": _boat,
    "horse": _horse,
    "cat": _cat,
    "tent": _tent,
    "tower": _tower,
    "umbrella": _umbrella,
}
