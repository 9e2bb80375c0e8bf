"""Heatmaps: layers against strengths of the sweep, concepts against layers, and concepts against each other.

Cells are coloured in few steps, so that a colour can be read back from the legend; where there is room, the number
stands in the cell. heat_tables.py shows the sweep of one concept with all of its numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import polars as pl
import polars.selectors as cs
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from steerwright.report.html.figures import Draw
from steerwright.report.html.page import Html, el
from steerwright.report.html.theme import DASH, FROST, LIGHT, MINUS, THIN, decimal, percent, span
from steerwright.report.language.content import concept_name
from steerwright.report.language.parts import Panels
from steerwright.report.language.words import times

# Frost from a shade that stands out from the paper; amber is what one does not want.
PALE = ("#e4ebf0", *FROST[1:])
AMBER = ("#f0dcb4", "#dfae5f", "#a4621a")
# What outlines the chosen cell: it stands out from every colour above, on either theme.
CHOSEN = "#d1491b"
# Letters on a cell are no theme colours: the cell is the same whatever the theme.
DARK_INK, LIGHT_INK = "#10202c", "#ffffff"
# Cells across that still have room for a number.
ROOM = 12


@dataclass(frozen=True, slots=True)
class ColourScale:
    """Colours by bounds: the first colour below the first bound, the last from the last bound on."""

    bounds: tuple[float, ...]
    colours: tuple[str, ...]
    unit: str = ""
    shown: float = 1.0

    def colour(self, value: float) -> str:
        return self.colours[sum(value >= bound for bound in self.bounds)]

    def labels(self) -> list[str]:
        """`< 10 %`, `10-25 %`, ..., `≥ 95 %`."""
        gap = THIN if self.unit else ""
        ends = [f"{self.shown * bound:g}".replace("-", MINUS) for bound in self.bounds]
        signed = any(bound < 0 for bound in self.bounds)
        middle = [f"{low}{' to ' if signed else DASH}{high}{gap}{self.unit}" for low, high in pairwise(ends)]
        return [f"< {ends[0]}{gap}{self.unit}", *middle, f"≥ {ends[-1]}{gap}{self.unit}"]


RATES = ColourScale((0.1, 0.3, 0.5, 0.8, 0.95), PALE, "%", 100)
SEPARABILITY = ColourScale((0.6, 0.8, 0.9, 0.95, 0.99), PALE)
COSINES = ColourScale(
    (-0.5, -0.2, -0.05, 0.05, 0.2, 0.5, 0.8),
    (AMBER[2], AMBER[1], AMBER[0], "#edeeee", PALE[1], PALE[2], PALE[3], PALE[5]),
)


def ratios(limit: float | None) -> ColourScale:
    """Perplexity ratios: frost up to the limit, amber from there on."""
    end = max(limit or 2.0, 0.9)
    # A limit hardly above 1 leaves no room for rounder numbers.
    low, middle = (1.1, (1.1 + end) / 2) if end > 1.15 else (0.8 + (end - 0.8) / 3, 0.8 + (end - 0.8) / 1.5)
    bounds = 0.8, *(round(bound, 2) for bound in (low, middle)), end, 2 * end
    return ColourScale(bounds, (*PALE[:4], *AMBER[1:]), "\u00d7")


def rate_maps(sweep: pl.DataFrame, concepts: Sequence[str]) -> tuple[Draw, float]:
    """A small map for every concept, layers down and strengths across: the share of texts that show it."""
    return _maps(sweep, concepts, "rate", RATES)


def ratio_maps(sweep: pl.DataFrame, concepts: Sequence[str], limit: float | None) -> tuple[Draw, float]:
    """The same of perplexity, in times the unsteered one."""
    return _maps(sweep, concepts, "ratio", ratios(limit))


def layer_map(
    table: pl.DataFrame, value: str, concepts: Sequence[str], scale: ColourScale, label: Callable[[float], str],
    chosen: Mapping[str, Any],
) -> tuple[Draw, float]:  # fmt: skip
    """Concepts down, layers across; outlined is the layer that was chosen for the concept (`chosen`: its layer)."""
    layers = _axis(table, "layer")
    found: dict[tuple[float, float], float] = {
        (layers.index(row["layer"]), concepts.index(row["concept"])): row[value]
        for row in table.drop_nulls(value).iter_rows(named=True) if row["concept"] in concepts
    }  # fmt: skip
    marked = [(layers.index(chosen[name]), place) for place, name in enumerate(concepts) if chosen.get(name) in layers]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        _paint(axes, found, scale, 0.8)
        if len(layers) <= ROOM:
            _numbers(axes, found, scale, label)
        _outline(axes, marked, 1.8)
        axes.set(xlim=(-0.5, len(layers) - 0.5), ylim=(len(concepts) - 0.5, -0.5), xlabel="layer")
        stride = -(-len(layers) // 16)
        axes.set_xticks(range(0, len(layers), stride), [str(layer) for layer in layers[::stride]])
        axes.set_yticks(range(len(concepts)), [concept_name(name) for name in concepts], color=LIGHT["ink"])
        _bare(axes)
        _legend(figure, scale, "chosen" if marked else "")

    return draw, 1.15 + 0.215 * len(concepts)


def cosine_map(table: pl.DataFrame, concepts: Sequence[str]) -> tuple[Draw, float]:
    """Concepts against concepts: the cosine of their directions."""
    found: dict[tuple[float, float], float] = {
        (concepts.index(row["other"]), concepts.index(row["concept"])): row["cosine"]
        for row in table.drop_nulls("cosine").iter_rows(named=True)
        if row["concept"] in concepts and row["other"] in concepts and row["concept"] != row["other"]
    }  # fmt: skip
    names = [concept_name(name) for name in concepts]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        _paint(axes, found, COSINES, 0.8)
        if len(concepts) <= 8:
            _numbers(axes, found, COSINES, lambda value: f"{value:.2f}".replace("-", MINUS))
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5))
        axes.set_xticks(range(len(names)), names, rotation=55, ha="left", rotation_mode="anchor", fontsize=8,
                        color=LIGHT["ink"])  # fmt: skip
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(names)), names, fontsize=8, color=LIGHT["ink"])
        _bare(axes)
        _legend(figure, COSINES, "")

    return draw, 1.5 + 0.19 * len(names)


def short(value: float) -> str:
    """`1.3`, `12`, `99+`: a ratio that fits into a cell."""
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}" if value < 99.5 else "99+"


def _maps(sweep: pl.DataFrame, concepts: Sequence[str], value: str, scale: ColourScale) -> tuple[Draw, float]:
    """The chosen point of each is outlined."""
    layers, strengths = _axis(sweep, "layer"), _axis(sweep, "strength")
    panels = Panels(len(concepts), len(strengths), len(layers), min(max(0.1 * len(layers), 0.55), 2.0))
    found: dict[tuple[float, float], float] = {}
    marked: list[tuple[float, float]] = []
    for concept, (left, top) in zip(concepts, panels.corners(), strict=True):
        for row in _known(sweep.filter(concept=concept), value):
            at = left + strengths.index(row["strength"]) + 0.5, top + layers.index(row["layer"]) + 0.5
            found[at] = row[value]
            marked += [at] if row["chosen"] else []

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        _paint(axes, found, scale, 0.5)
        _outline(axes, marked, 1.4)
        wide, high = -(-len(strengths) // 4), -(-len(layers) // 5)
        across = [(place + 0.5, f"{strengths[place]:g}") for place in range(0, len(strengths), wide)]
        down = [(place + 0.5, f"{layers[place]}") for place in range(0, len(layers), high)]
        panels.frame(axes, [concept_name(name) for name in concepts], across, down)
        axes.set_xlabel("strength", fontsize=8.5)
        axes.set_ylabel("layer", fontsize=8.5)
        _legend(figure, scale, "chosen", "outside upper left")

    return draw, 0.95 + panels.total


def _axis(table: pl.DataFrame, column: str) -> list[Any]:
    return table[column].drop_nulls().unique().sort().to_list()


def _known(rows: pl.DataFrame, value: str) -> list[dict[str, Any]]:
    """The points of a sweep at which `value` was measured."""
    return rows.with_columns(pl.col(value).fill_nan(None)).drop_nulls(["layer", "strength", value]).to_dicts()


def _paint(axes: Axes, found: Mapping[tuple[float, float], float], scale: ColourScale, gap: float) -> None:
    """Every colour is one path, so that a page stays small."""
    paths: dict[str, list[Path]] = {}
    for (x, y), value in found.items():
        corners = [(x - 0.5, y - 0.5), (x + 0.5, y - 0.5), (x + 0.5, y + 0.5), (x - 0.5, y + 0.5), (x - 0.5, y - 0.5)]
        paths.setdefault(scale.colour(value), []).append(Path(corners, closed=True))
    for shade in scale.colours:
        if shade in paths:
            cells = Path.make_compound_path(*paths[shade])
            axes.add_patch(PathPatch(cells, facecolor=shade, edgecolor=LIGHT["paper"], linewidth=gap))


def _numbers(
    axes: Axes, found: Mapping[tuple[float, float], float], scale: ColourScale, label: Callable[[float], str]
) -> None:  # fmt: skip
    for (x, y), value in found.items():
        axes.text(x, y, label(value), ha="center", va="center_baseline", color=ink(scale.colour(value)), fontsize=8)


def ink(shade: str) -> str:
    """The colour of letters on a cell of the colour `shade`."""
    red, green, blue = (int(shade[place : place + 2], 16) for place in (1, 3, 5))
    return LIGHT_INK if 0.299 * red + 0.587 * green + 0.114 * blue < 150 else DARK_INK


def _outline(axes: Axes, places: Sequence[tuple[float, float]], width: float) -> None:
    for x, y in places:
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="none", edgecolor=CHOSEN, linewidth=width,
                                 zorder=5))  # fmt: skip


def _bare(axes: Axes) -> None:
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)


def _legend(figure: Figure, scale: ColourScale, chosen: str, place: str = "outside lower left") -> None:
    handles: list[Any] = [Rectangle((0, 0), 1, 1, facecolor=shade, linewidth=0) for shade in scale.colours]
    labels = scale.labels()
    if chosen:
        handles.append(Rectangle((0, 0), 1, 1, facecolor="none", edgecolor=CHOSEN, linewidth=1.5))
        labels.append(chosen)
    # Legends fill columns; read along its rows, the scale ascends.
    columns = 4
    order = [at for column in range(columns) for at in range(column, len(labels), columns)]
    figure.legend([handles[at] for at in order], [labels[at] for at in order], loc=place, ncols=columns, frameon=False,
                  fontsize=8, handlelength=1, handleheight=0.9, handletextpad=0.4, columnspacing=1.1,
                  borderaxespad=0.1)  # fmt: skip


# The sweep of one concept as tables that one can read and copy: layers down, strengths across, cells coloured.

_COLOURS = (*PALE, *AMBER)
# A class for each colour that a cell may have; letters on it are the same on either theme, as the cell is.
HEAT_STYLE = "".join(
    f".heat td.c{place}{{background-color:{shade};color:{ink(shade)}}}" for place, shade in enumerate(_COLOURS)
)


def rate_table(rows: pl.DataFrame) -> Html:
    """The share of texts that show the concept, in per cent. `rows`: of one concept of the sweep."""
    return _table("Texts that show it", rows, "rate", RATES, lambda value: f"{100 * value:.0f}")


def ratio_table(rows: pl.DataFrame, limit: float | None) -> Html:
    """The perplexity, in times the unsteered one."""
    return _table("Perplexity", rows, "ratio", ratios(limit), short)


def _table(label: str, rows: pl.DataFrame, value: str, scale: ColourScale, said: Callable[[float], str]) -> Html:
    table = rows.with_columns(cs.float().fill_nan(None)).drop_nulls(["layer", "strength"])
    layers, strengths = (table[name].unique().sort().to_list() for name in ("layer", "strength"))
    cells = {(row["layer"], row["strength"]): row for row in table.iter_rows(named=True)}
    body = [
        el("tr", el("th", str(layer), scope="row"),
           *(_cell(cells.get((layer, strength)), value, scale, said) for strength in strengths))
        for layer in layers
    ]  # fmt: skip
    top = el("tr", el("th", "layer", scope="col"), *(el("th", f"{strength:g}", scope="col") for strength in strengths))
    # A few strengths need not fill the width; where many do not fit, the table scrolls.
    least = 2.8 + 2 * len(strengths)
    most = max(least, min(34.0, 2.8 + 4.6 * len(strengths)))
    width = f"min-width:{least:.1f}rem;max-width:{most:.1f}rem"
    drawn = el("table", el("thead", top), el("tbody", *body), class_="heat", style=width)
    return el("div", drawn, class_="scroll", role="region", aria_label=label, tabindex=0)


def _cell(row: Mapping[str, Any] | None, value: str, scale: ColourScale, said: Callable[[float], str]) -> Html:
    if row is None or row[value] is None:
        return el("td", DASH)
    marks = [f"c{_COLOURS.index(scale.colour(row[value]))}"]
    marks += ["unsafe"] if row["safe"] is False else []
    marks += ["best"] if row["chosen"] else []
    return el("td", said(row[value]), class_=" ".join(marks), title=_told(row))


def _told(row: Mapping[str, Any]) -> str:
    """Everything that was measured at a point, shown when the pointer rests on its cell."""
    low, high = row.get("rate_low"), row.get("rate_high")
    between = f" ({span(low, high)})" if low is not None and high is not None else ""
    parts = [f"rate {percent(row['rate'])}{between}", f"perplexity {times(row['ratio'])}"]
    for key, name in (("distinct_2", "distinct-2"), ("kl", "KL")):
        if row.get(key) is not None:
            parts.append(f"{name} {decimal(row[key], 2)}")
    safe = [] if row["safe"] is None else ["safe" if row["safe"] else "not safe"]
    return ", ".join([*parts, *safe, *(["chosen"] if row["chosen"] else [])])


def legend(parts: Sequence[tuple[str, str]]) -> Html:
    """What marks on cells mean: class and words."""
    return el("p", *(el("span", el("span", class_=f"mark {kind}", aria_hidden="true"), words)
                     for kind, words in parts), class_="note marks")  # fmt: skip
