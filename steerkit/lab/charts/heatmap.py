"""A heat map as a table: layers down, tokens across; numbers on hover, words in the cells where there are any."""

import math
from collections.abc import Sequence

from steerkit.lab.charts.scale import number
from steerkit.report.html import Html, el

# Above this share of the scale letters are drawn in the page's own colour, to stand off from the cell's.
_DEEP = 0.55


def heatmap(
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    unit: str,
    caption: str = "",
    top: float | None = None,
    signed: bool = False,
    words: Sequence[Sequence[str]] | None = None,
    hover: Sequence[Sequence[str]] | None = None,
    here: int | None = None,
    sure: Sequence[int] = (),
) -> Html:
    """`values` [rows, columns] as colours from 0 to `top` (default: the largest), or -top to top where `signed`.

    `unit` says what a colour means, beside the scale. `words` stand in the cells, `hover` replaces the number that a
    cell shows under the pointer; `here` is a row to stress, `sure` names for each column the row from which on its word
    stays the same (-1: none), which is outlined. Values that are not finite leave their cell empty.
    """
    finite = [abs(value) for row in values for value in row if math.isfinite(value)]
    top = max(finite, default=0.0) if top is None else top
    up = max((len(name) for name in columns), default=0) > 2 and words is None
    head = [el("th", el("span", _seen(name)), class_="up" if up else None, title=name) for name in columns]
    body = []
    for place, (name, row) in enumerate(zip(rows, values, strict=True)):
        cells = [el("th", name, scope="row")]
        for column, value in enumerate(row):
            word = None if words is None else words[place][column]
            told = number(value) if hover is None else hover[place][column]
            stays = bool(sure) and sure[column] == place
            cells.append(_cell(value, top, signed, word, f"{columns[column]} · {name}: {told}", stays))
        body.append(el("tr", *cells, class_="here" if place == here else None))
    least = f"{number(-top)}" if signed else "0"
    ramp = el("div", least, el("i"), f"{number(top)}", el("span", unit), class_="ramp signed" if signed else "ramp")
    table = el("table", el("thead", el("tr", el("th", ""), *head)), el("tbody", *body), class_="heat", aria_label=title)
    below = [el("figcaption", caption)] if caption else []
    return el(
        "figure", el("h4", title), ramp, el("div", table, class_="scroll", tabindex=0), *below, class_="lab-chart"
    )


def _cell(value: float, top: float, signed: bool, word: str | None, told: str, stays: bool) -> Html:
    if not math.isfinite(value):
        return el("td", "", class_="none")
    share = min(abs(value) / top, 1.0) if top > 0 else 0.0
    looks = ["cold"] * (signed and value < 0) + ["word"] * (word is not None) + ["deep"] * (share > _DEEP)
    looks += ["sure"] * stays
    shown = "" if word is None else _seen(word)
    return el("td", shown, style=f"--share:{share:.3f}", title=told, class_=" ".join(looks) or None)


def _seen(token: str) -> str:
    """A token as it can be seen: a space in front is what separates words and is left out, a line's end is a sign."""
    return token.replace("\n", "\u21b5").strip() or "\u2423"
