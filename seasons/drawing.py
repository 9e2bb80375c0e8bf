"""The five places, in each season and at each time of day: sky, ground, what stands there, what falls."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from seasons.scene import Scene

# Drawing on a picture and, with the same strokes, on the mask of what was drawn.

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


GROUND: dict[str, Colour] = {
    "spring": (128, 198, 96),
    "summer": (66, 146, 48),
    "autumn": (182, 124, 58),
    "winter": (238, 243, 248),
}
FOLIAGE: dict[str, Colour] = {"spring": (244, 158, 196), "summer": (36, 108, 36), "autumn": (226, 118, 28)}
WATER: dict[str, Colour] = {
    "spring": (92, 164, 212),
    "summer": (40, 120, 212),
    "autumn": (84, 118, 148),
    "winter": (150, 192, 228),
}
DAY_SKY: dict[str, tuple[Colour, Colour]] = {
    "spring": ((140, 196, 242), (216, 234, 246)),
    "summer": ((56, 140, 236), (164, 212, 248)),
    "autumn": ((150, 164, 184), (228, 214, 194)),
    "winter": ((170, 186, 206), (224, 230, 238)),
}
SUNSET_SKY: tuple[Colour, Colour] = ((118, 66, 132), (252, 148, 78))
NIGHT_SKY: tuple[Colour, Colour] = ((16, 20, 60), (52, 60, 116))
SNOW: Colour = (250, 252, 255)
CLOUD: Colour = (240, 242, 246)

# How far down a mountain's slope its snow reaches.
SNOW_LINE = {"winter": 0.78, "spring": 0.26, "autumn": 0.3, "summer": 0.12}
TREES_BEHIND = {"meadow": 4, "lake": 2, "mountain": 1, "street": 1}
LITTER: dict[str, tuple[Colour, ...]] = {
    "spring": ((246, 128, 182), (250, 236, 88), (255, 255, 255)),
    "autumn": ((206, 78, 24), (234, 152, 40), (148, 60, 26)),
}


def draw_outdoors(scene: Scene, rng: np.random.Generator, horizon: float) -> Image.Image:
    """Sky, weather, ground and everything behind the object, before the light of the hour."""
    line = horizon * CANVAS
    picture = _sky(scene, line)
    brush = Brush(picture)
    _lights_and_clouds(brush, scene, rng, line)
    ground = jitter(GROUND[scene.season], rng, 6)
    if scene.season == "winter":
        bare = np.array((206, 212, 210))
        mixed = scene.snow * np.array(ground) + (1 - scene.snow) * bare
        ground = (int(mixed[0]), int(mixed[1]), int(mixed[2]))
    if scene.place == "mountain":
        _mountains(brush, scene, rng, line)
    if scene.place == "street":
        _houses_behind(brush, scene, rng, line)
    brush.rectangle((0, line, CANVAS, CANVAS), ground)
    if scene.place == "lake":
        _lake(brush, scene, rng, line)
    if scene.place == "street":
        _road(brush, scene, line)
    for _ in range(TREES_BEHIND[scene.place]):
        side = rng.uniform(4, 26) if rng.random() < 0.5 else rng.uniform(102, 124)
        _tree(brush, side, line + rng.uniform(2, 8), rng.uniform(34, 46), scene.season, rng)
    for _ in range(22 if scene.season in LITTER else 0):
        colours = LITTER[scene.season]
        brush.dot(rng.uniform(0, CANVAS), rng.uniform(line + 6, CANVAS), 2.1, colours[rng.integers(len(colours))])
    return picture


def draw_room(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """A room whose window shows a meadow in the scene's season and at its hour."""
    picture = Image.new("RGB", (CANVAS, CANVAS), jitter((216, 190, 158), rng))
    brush = Brush(picture)
    floor = CANVAS * 0.74
    brush.rectangle((0, floor, CANVAS, CANVAS), jitter((142, 96, 62), rng))
    for board in range(3):
        brush.line([(0, floor + 8 + board * 11), (CANVAS, floor + 8 + board * 11)], (112, 74, 46), 1)
    side = 62
    left = 6 if rng.random() < 0.5 else CANVAS - 6 - side
    outside = Scene(**{**{f: getattr(scene, f) for f in Scene.__dataclass_fields__}, "place": "meadow"})
    view = draw_outdoors(outside, rng, 0.55)
    draw_falling(view, scene, rng, 0.8)
    view = tint(view, scene.time)
    picture.paste(view.resize((side, side), Image.Resampling.BOX), (left, 7))
    for box in ((left - 3, 4, left + side + 2, 7), (left - 3, 7 + side, left + side + 2, 10 + side),
                (left - 3, 4, left, 10 + side), (left + side - 1, 4, left + side + 2, 10 + side),
                (left + side // 2 - 1, 4, left + side // 2 + 1, 10 + side)):  # fmt: skip
        brush.rectangle(box, (246, 246, 240))
    return picture


def draw_falling(picture: Image.Image, scene: Scene, rng: np.random.Generator, density: float = 1.0) -> None:
    """Snow, leaves or petals in the air, in front of everything; summer air is clear."""
    brush = Brush(picture)
    if scene.season == "winter":
        for _ in range(int((16 + 22 * scene.snow) * density)):
            brush.dot(rng.uniform(0, CANVAS), rng.uniform(0, CANVAS), rng.uniform(1.8, 2.8), (255, 255, 255))
    elif scene.season == "autumn":
        for _ in range(int(10 * density)):
            brush.dot(rng.uniform(0, CANVAS), rng.uniform(0, CANVAS), 2.4, LITTER["autumn"][rng.integers(2)])
    elif scene.season == "spring":
        for _ in range(int(8 * density)):
            brush.dot(rng.uniform(0, CANVAS), rng.uniform(0, CANVAS), 2.1, (252, 172, 206))


LIGHT = {"day": (1.0, 1.0, 1.0), "sunset": (1.02, 0.8, 0.7), "night": (0.42, 0.48, 0.74)}


def tint(picture: Image.Image, time: str, share: float = 1.0) -> Image.Image:
    """The picture in the light of the hour; `share` below 1 weakens it (a lit room)."""
    light = 1 - (1 - np.asarray(LIGHT[time], dtype=np.float32)) * share
    lit = np.asarray(picture, dtype=np.float32) * light
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def _unlit(colour: Colour, time: str) -> Colour:
    red, green, blue = (int(channel / light) for channel, light in zip(colour, LIGHT[time], strict=True))
    return red, green, blue


def _sky(scene: Scene, line: float) -> Image.Image:
    top, bottom = {"day": DAY_SKY[scene.season], "sunset": SUNSET_SKY, "night": NIGHT_SKY}[scene.time]
    if scene.time == "night":
        # The night's light is applied to the whole picture later; undo it here so that the sky keeps its own colour.
        top, bottom = (_unlit(colour, "night") for colour in (top, bottom))
    share = np.clip(np.arange(CANVAS, dtype=np.float32) / line, 0, 1)[:, None]
    column = (1 - share) * np.asarray(top, np.float32) + share * np.asarray(bottom, np.float32)
    pixels = np.broadcast_to(column[:, None, :], (CANVAS, CANVAS, 3))
    return Image.fromarray(np.ascontiguousarray(np.clip(pixels, 0, 255)).astype(np.uint8))


def _lights_and_clouds(brush: Brush, scene: Scene, rng: np.random.Generator, line: float) -> None:
    x, y = rng.uniform(14, CANVAS - 14), rng.uniform(12, 22)
    if scene.time == "night":
        for _ in range(12):
            brush.dot(rng.uniform(0, CANVAS), rng.uniform(0, line * 0.8), 1.0, (255, 255, 240))
        brush.dot(x, y, 10, (255, 255, 236))
    elif scene.time == "sunset":
        brush.dot(x, line - rng.uniform(2, 10), 15, (255, 220, 110))
    elif scene.season in ("summer", "spring"):
        brush.dot(x, y, 12, (255, 238, 104))
    if scene.time != "night" and scene.season != "summer":
        cloud = CLOUD if scene.time == "day" else (240, 172, 142)
        for _ in range(2):
            cx, cy = rng.uniform(0, CANVAS), rng.uniform(8, 26)
            for dx in (-9, 0, 9):
                brush.ellipse((cx + dx - 9, cy - 5, cx + dx + 9, cy + 5), cloud)


def _mountains(brush: Brush, scene: Scene, rng: np.random.Generator, line: float) -> None:
    rock: Colour = (138, 146, 164) if scene.season == "winter" else (112, 112, 126)
    reach = SNOW_LINE[scene.season]
    for k in range(3):
        x, height = rng.uniform(k * 42 - 4, k * 42 + 40), rng.uniform(38, 54)
        width = height * 0.9
        brush.polygon([(x - width, line), (x, line - height), (x + width, line)], jitter(rock, rng))
        low = line - height * (1 - reach)
        cap = [
            (x - width * reach, low),
            (x, line - height),
            (x + width * reach, low),
            (x + width * reach * 0.3, low - height * reach * 0.2),
            (x - width * reach * 0.2, low + height * reach * 0.15),
        ]
        brush.polygon(cap, SNOW)


def _houses_behind(brush: Brush, scene: Scene, rng: np.random.Generator, line: float) -> None:
    x = -4.0
    while x < CANVAS:
        width, height = rng.uniform(20, 32), rng.uniform(30, 54)
        brush.rectangle((x, line - height, x + width, line), jitter((152, 138, 132), rng, 16))
        if scene.season == "winter":
            brush.rectangle((x, line - height, x + width, line - height + 5), SNOW)
        for y in range(int(line - height + 9), int(line - 6), 11):
            for wx in (x + 4, x + width - 9):
                brush.rectangle((wx, y, wx + 5, y + 5), (238, 222, 150))
        x += width + 2


def _lake(brush: Brush, scene: Scene, rng: np.random.Generator, line: float) -> None:
    water = jitter(WATER[scene.season], rng, 6)
    brush.ellipse((-44, line + 5, CANVAS + 44, line + 62), water)
    for _ in range(5):
        x, y = rng.uniform(2, 112), rng.uniform(line + 12, line + 44)
        brush.line([(x, y), (x + 14, y)], shade(water, 1.2), 2)


def _road(brush: Brush, scene: Scene, line: float) -> None:
    winter = scene.season == "winter"
    top = line + 20
    brush.rectangle((0, top, CANVAS, top + 32), (182, 188, 198) if winter else (92, 92, 98))
    for x in range(4, CANVAS, 24):
        brush.rectangle((x, top + 15, x + 12, top + 18), (236, 236, 226))


def _tree(brush: Brush, cx: float, by: float, height: float, season: str, rng: np.random.Generator) -> None:
    trunk = max(2.0, height * 0.1)
    brush.rectangle((cx - trunk / 2, by - height * 0.5, cx + trunk / 2, by), (92, 62, 40))
    if season == "winter":
        width, bark = max(2, int(height * 0.05)), (84, 60, 44)
        brush.line([(cx, by - height * 0.45), (cx, by - height * 0.95)], bark, width + 1)
        for side, low, high, reach in (
            (-1, 0.5, 0.8, 0.3),
            (1, 0.45, 0.75, 0.32),
            (-1, 0.68, 0.92, 0.2),
            (1, 0.65, 0.95, 0.22),
        ):
            root, tip = (cx, by - height * low), (cx + side * height * reach, by - height * high)
            brush.line([root, tip], bark, width)
            brush.line([(root[0], root[1] - width), (tip[0], tip[1] - width)], SNOW, width)
        return
    leaves, radius = jitter(FOLIAGE[season], rng, 10), height * 0.3
    for dx, dy, share in ((-0.2, 0.55, 0.9), (0.2, 0.55, 0.9), (0.0, 0.75, 1.0)):
        brush.dot(cx + dx * height, by - dy * height, radius * share, leaves)
    brush.ellipse((cx - radius * 0.6, by - 0.9 * height, cx + radius * 0.3, by - 0.7 * height), shade(leaves, 1.15))


# The eight objects. Each is drawn standing on (cx, by), `s` times its own size, with one body colour.
#
# An object fills about 60 % of the image's height: smaller ones vanish in a latent grid of 16x16.

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
