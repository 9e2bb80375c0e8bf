"""A line chart as SVG: a few series over one number, with bands, limits and a marked place."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from steerwright.lab.charts.style import SERIES, ChartScale, number, ticks
from steerwright.report.html.page import Html, el

_WIDTH, _HEIGHT = 400, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 42


@dataclass(frozen=True, slots=True)
class Line:
    """One series: `y` at each `x`; not-a-number leaves a gap. `low` and `high` draw its interval as a band.

    `colour`: "plain" or one of scale.SERIES; "" takes the next free one. `dots`: a dot at every point.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    colour: str = ""
    dashed: bool = False
    faint: bool = False
    dots: bool = True


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    caption: str = "",
    y_range: tuple[float, float] | None = None,
    limits: Sequence[tuple[float, str]] = (),
    marked: float | None = None,
) -> Html:
    """A figure of `lines`. `limits` are horizontal lines with a word each; `marked` is a place on the x axis.

    The y axis holds `y_range` where given, and everything that is drawn. Raises ValueError without a finite point.
    """
    shown = [(line, _points(line)) for line in lines]
    points = [point for _, found in shown for point in found]
    if not points:
        raise ValueError("There is no finite point to draw.")
    heights = [y for _, y in points] + [value for value, _ in limits] + list(y_range or ())
    heights += [value for line in lines for value in (*line.low, *line.high) if math.isfinite(value)]
    places = [x for x, _ in points] + ([] if marked is None else [marked])
    marks_y, marks_x = ticks(min(heights), max(heights)), _x_ticks(places)
    low, high = (min(places), max(places)) if min(places) < max(places) else (min(places) - 1, max(places) + 1)
    across = ChartScale(low, high, _LEFT + 8, _WIDTH - _RIGHT - 8)
    up = ChartScale(marks_y[0], marks_y[-1], _HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(marks_x, marks_y, across, up, x_label, y_label)]
    for value, words in limits:
        parts.append(_segment(_LEFT, up(value), _WIDTH - _RIGHT, up(value), "limit"))
        parts.append(el("text", words, x=_WIDTH - _RIGHT, y=up(value) - 5, text_anchor="end"))
    if marked is not None:
        parts.append(_segment(across(marked), _TOP, across(marked), _HEIGHT - _BOTTOM, "limit"))
    free = iter(SERIES * (1 + len(lines) // len(SERIES)))
    colours = [line.colour or next(free) for line in lines]
    for (line, found), colour in zip(shown, colours, strict=True):
        parts.append(_series(line, found, colour, across, up))
    named = [(line.name, colour) for line, colour in zip(lines, colours, strict=True) if line.name and not line.faint]
    key = el("div", *(el("span", name, class_=colour) for name, colour in named), class_="key")
    drawn = el("svg", *parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=f"{title}. {caption}")
    below = [el("figcaption", caption)] if caption else []
    return el("figure", el("h4", title), *([key] if len(named) > 1 else []), drawn, *below, class_="lab-chart")


def _points(line: Line) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(x) and math.isfinite(y)]


def _x_ticks(places: Sequence[float]) -> list[float]:
    """Ticks inside the places; whole numbers stay whole (layers)."""
    whole = all(float(place).is_integer() for place in places)
    found = [tick for tick in ticks(min(places), max(places), 8) if min(places) <= tick <= max(places)]
    return [tick for tick in found if tick.is_integer()] if whole else found


def _grid(
    marks_x: Sequence[float], marks_y: Sequence[float], across: ChartScale, up: ChartScale, x_label: str, y_label: str
) -> Html:
    parts = []
    for value in marks_y:
        parts.append(_segment(_LEFT, up(value), _WIDTH - _RIGHT, up(value), "grid"))
        parts.append(el("text", number(value), x=_LEFT - 7, y=up(value) + 4, text_anchor="end"))
    for value in marks_x:
        parts.append(el("text", number(value), x=across(value), y=_HEIGHT - _BOTTOM + 17, text_anchor="middle"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(el("text", x_label, x=(_LEFT + _WIDTH) / 2, y=_HEIGHT - 5, text_anchor="middle"))
    parts.append(el("text", y_label, x=0, y=0, text_anchor="middle", transform=f"translate(11 {middle}) rotate(-90)"))
    return el("g", *parts)


def _series(line: Line, points: Sequence[tuple[float, float]], colour: str, across: ChartScale, up: ChartScale) -> Html:
    parts = []
    if len(line.low) and len(line.high):
        band = [(x, low, high) for x, low, high in zip(line.x, line.low, line.high, strict=True) if low == low]
        edge = [f"{across(x)},{up(high)}" for x, _, high in band]
        edge += [f"{across(x)},{up(low)}" for x, low, _ in reversed(band)]
        parts.append(el("polygon", points=" ".join(edge), class_="band"))
    look = " ".join(["line"] + ["dashed"] * line.dashed + ["faint"] * line.faint)
    for run in _runs(line):
        parts.append(el("polyline", points=" ".join(f"{across(x)},{up(y)}" for x, y in run), class_=look))
    if line.dots:
        for x, y in points:
            words = el("title", f"{line.name}: {number(y)} at {number(x)}")
            parts.append(el("circle", words, cx=across(x), cy=up(y), r=3.4, class_="dot"))
    return el("g", *parts, class_=colour)


def _runs(line: Line) -> list[list[tuple[float, float]]]:
    """The points in unbroken runs."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(line.x, line.y, strict=True):
        if math.isfinite(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if len(run) > 1]


def _segment(x1: float, y1: float, x2: float, y2: float, look: str) -> Html:
    return el("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=look)
