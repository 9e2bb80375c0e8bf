"""A map in two dimensions as SVG: named places, and a path through them."""

from collections.abc import Sequence
from dataclasses import dataclass

from steerwright.lab.charts.style import ChartScale, number
from steerwright.report.html.page import Html, el

_WIDTH, _HEIGHT, _EDGE = 460, 400, 30
# Letters of the names are about this wide and high, in the drawing's pixels.
_LETTER, _LINE = 6.6, 14.0
# Where a name is tried, in lines up or down from its place.
_SHIFTS = (0, -1, 1, -2, 2, -3, 3, -4, 4)


@dataclass(frozen=True, slots=True)
class Place:
    """A named place at (x, y); `colour` as in line_chart.Line; `strong` draws it as a ring."""

    name: str
    x: float
    y: float
    colour: str = "plain"
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Path:
    """Steps from one place to the next, each with a name (shown on hover, the first and last in the drawing).

    `cloud`: single points behind the steps, drawn faint.
    """

    names: Sequence[str]
    points: Sequence[tuple[float, float]]
    colour: str = "second"
    cloud: Sequence[tuple[float, float]] = ()


def plane(
    places: Sequence[Place],
    paths: Sequence[Path] = (),
    *,
    title: str,
    x_label: str,
    y_label: str,
    caption: str = "",
    key: Sequence[tuple[str, str]] = (),
) -> Html:
    """A figure with equal scales on both axes, so that distances can be compared. `key`: pairs of colour and words.

    Names are moved apart where they would cover each other. Raises ValueError when there is nothing to draw.
    """
    points = [(place.x, place.y) for place in places]
    points += [point for path in paths for point in (*path.points, *path.cloud)]
    if not points:
        raise ValueError("There is nothing to draw on the map.")
    across, up = _scales(points)
    parts = [
        el("line", x1=_EDGE / 2, x2=_WIDTH - _EDGE / 2, y1=up(0), y2=up(0), class_="grid"),
        el("line", x1=across(0), x2=across(0), y1=_EDGE / 2, y2=_HEIGHT - _EDGE / 2, class_="grid"),
        el("text", x_label, x=_WIDTH - _EDGE / 2, y=_HEIGHT - 4, text_anchor="end"),
        el("text", y_label, x=0, y=0, text_anchor="end", transform=f"translate(11 {_EDGE / 2}) rotate(-90)"),
    ]
    # What names must not cover: other names, and the dots that have one.
    steps = [(across(x), up(y)) for path in paths for x, y in path.points]
    dots = [*((across(place.x), up(place.y)) for place in places), *steps]
    taken = [(x - 8, y + 4, 16.0) for x, y in dots]
    names = []
    for path in paths:
        parts.append(_path(path, across, up))
        for place in {0, len(path.points) - 1}:
            x, y = path.points[place]
            names.append(_name(path.names[place], across(x), up(y), taken))
    for place_ in places:
        x, y = across(place_.x), up(place_.y)
        told = el("title", f"{place_.name}: {number(place_.x)}, {number(place_.y)}")
        dot = el("circle", told, cx=x, cy=y, r=6 if place_.strong else 4, class_="ring" if place_.strong else "dot")
        parts.append(el("g", dot, class_=place_.colour))
        names.append(_name(place_.name, x, y, taken))
    drawn = el(
        "svg",
        *parts,
        *names,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        class_="map",
        role="img",
        aria_label=f"{title}. {caption}",
    )
    words = el("div", *(el("span", what, class_=colour) for colour, what in key), class_="key")
    below = [el("figcaption", caption)] if caption else []
    return el("figure", el("h4", title), *([words] if key else []), drawn, *below, class_="lab-chart")


def _scales(points: Sequence[tuple[float, float]]) -> tuple[ChartScale, ChartScale]:
    """One scale for both axes that holds all points and the origin."""
    xs, ys = [0.0, *(x for x, _ in points)], [0.0, *(y for _, y in points)]
    unit = max((max(xs) - min(xs)) / (_WIDTH - 4 * _EDGE), (max(ys) - min(ys)) / (_HEIGHT - 2 * _EDGE)) or 1.0
    middle_x, middle_y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    half_x, half_y = unit * _WIDTH / 2, unit * _HEIGHT / 2
    return (
        ChartScale(middle_x - half_x, middle_x + half_x, 0, _WIDTH),
        ChartScale(middle_y - half_y, middle_y + half_y, _HEIGHT, 0),
    )


def _path(path: Path, across: ChartScale, up: ChartScale) -> Html:
    parts = [el("circle", cx=across(x), cy=up(y), r=2.6, class_="dot faint") for x, y in path.cloud]
    steps = [(across(x), up(y)) for x, y in path.points]
    parts.append(el("polyline", points=" ".join(f"{x},{y}" for x, y in steps), class_="line"))
    for place, ((x, y), name) in enumerate(zip(steps, path.names, strict=True)):
        last = place == len(steps) - 1
        parts.append(
            el("circle", el("title", name), cx=x, cy=y, r=5.5 if last else 4, class_="dot" if last else "ring")
        )
    return el("g", *parts, class_=path.colour)


def _name(name: str, x: float, y: float, taken: list[tuple[float, float, float]]) -> Html:
    """The name beside its place: right or left of it, then further up or down until no other name is covered."""
    wide = _LETTER * len(name)
    right = x + 9 + wide < _WIDTH
    sides = ((x + 9, "start"), (x - 9 - wide, "end")) if right else ((x - 9 - wide, "end"), (x + 9, "start"))
    tries = [(left, anchor, y + 4 + shift * _LINE) for shift in _SHIFTS for left, anchor in sides]
    free = [(left, anchor, line) for left, anchor, line in tries if not _covers(left, line, wide, taken)]
    left, anchor, line = (free or tries)[0]
    taken.append((left, line, wide))
    return el("text", name, x=round(left if anchor == "start" else left + wide, 1), y=round(line, 1),
              text_anchor=anchor, class_="name")  # fmt: skip


def _covers(left: float, line: float, wide: float, taken: Sequence[tuple[float, float, float]]) -> bool:
    if left < 0 or left + wide > _WIDTH or not _LINE <= line <= _HEIGHT:
        return True
    return any(
        abs(line - other) < _LINE and left < start + size and start < left + wide for start, other, size in taken
    )
