"""The coherence frontier: how often a concept comes against how unlikely its texts are, at each point of the sweep."""

import math

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from steerwright.report.html.figures import Draw
from steerwright.report.html.theme import LIGHT, THIN
from steerwright.report.language.content import LanguageContent, concept_name
from steerwright.report.language.parts import Panels

SHADES = (("adaptive", "D", "-"), ("fixed", "s", "--"), ("prompt", "^", "-."), ("unsteered", "o", ":"))
# Beyond this many times the unsteered perplexity, points are drawn at the edge.
EDGE = 8.0
TICKS = (0.5, 1, 2, 4, 8)
# Those of a small panel.
FEW = (1, 4)


def front(points: pl.DataFrame) -> pl.DataFrame:
    """The points that no other beats in both: no point with a smaller ratio has as high a rate. Columns as given."""
    kept, best = [], -1.0
    for row in points.drop_nulls(["rate", "ratio"]).sort("ratio", "rate", descending=[False, True]).to_dicts():
        if row["rate"] > best:
            best = row["rate"]
            kept.append(row)
    return pl.DataFrame(kept, schema=points.schema)


def frontier_table(content: LanguageContent) -> pl.DataFrame:
    """Every point of the sweep that was measured; `on_front` where no other of its concept beats it."""
    points = content.sweep.filter(pl.col("ratio").is_finite()).drop_nulls("rate")
    parts = [points.clear().with_columns(pl.lit(None, pl.Boolean).alias("on_front"))]
    for concept in content.concepts:
        part = points.filter(concept=concept)
        on = set(front(part).select("layer", "strength").iter_rows())
        flags = [key in on for key in part.select("layer", "strength").iter_rows()]
        parts.append(part.with_columns(pl.Series("on_front", flags, dtype=pl.Boolean)))
    return pl.concat(parts)


def together(content: LanguageContent) -> tuple[Draw, float]:
    """The fronts of all concepts in one panel, coloured by factor; the chosen points are filled."""
    table, groups = frontier_table(content), content.groups()

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, (factor, concepts) in enumerate(groups.items()):
            shade, marker, line = SHADES[place % len(SHADES)]
            for concept in concepts:
                best = table.filter("on_front", concept=concept).sort("ratio")
                axes.plot(_at(best), best["rate"].to_list(), line, color=LIGHT[shade], linewidth=1, alpha=0.6)
                point = table.filter("chosen", concept=concept)
                axes.plot(_at(point), point["rate"].to_list(), marker, color=LIGHT[shade], markersize=6.5,
                          markeredgecolor=LIGHT["paper"], markeredgewidth=0.7, zorder=3)  # fmt: skip
            axes.plot([], [], line, marker=marker, color=LIGHT[shade], linewidth=1.2, markersize=5.5,
                      label=factor.capitalize() or "Concepts")  # fmt: skip
        _frame(axes, content.ratio_limit)
        axes.set(xlabel="perplexity, times unsteered", ylabel="texts that show the concept")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False, fontsize=8,
                      handlelength=2.4, handletextpad=0.5, columnspacing=1.2, borderaxespad=0.1)  # fmt: skip

    return draw, 4.8


def each(content: LanguageContent) -> tuple[Draw, float]:
    """A small panel for every concept: all points of the sweep, the front as a line, the chosen point filled."""
    table = frontier_table(content)
    concepts = [concept for concept in content.concepts if table.filter(concept=concept).height]
    panels = Panels(len(concepts), 1, 1, 0.86)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for (left, top), concept in zip(panels.corners(), concepts, strict=True):
            part = table.filter(concept=concept)
            for tick in FEW:
                axes.plot([left + _along(tick)] * 2, [top, top + 1], color=LIGHT["rule"], linewidth=0.5, zorder=0)
            for share in (0, 0.5, 1):
                level = top + _down(share)
                axes.plot([left, left + 1], [level, level], color=LIGHT["rule"], linewidth=0.5, zorder=0)
            if content.ratio_limit is not None:
                axes.plot([left + _along(content.ratio_limit)] * 2, [top, top + 1], color=LIGHT["muted"], linewidth=0.8,
                          linestyle=(0, (1, 2)), zorder=0)  # fmt: skip
            for rows, shade, style in (
                (part, "random", {"marker": ".", "markersize": 3.2, "alpha": 0.8, "linestyle": "none"}),
                (part.filter("on_front").sort("ratio"), "adaptive", {"linewidth": 1}),
                (part.filter("chosen"), "adaptive", {"marker": "D", "markersize": 5, "linestyle": "none", "zorder": 3}),
            ):
                x = [left + _along(ratio) for ratio in _at(rows)]
                axes.plot(x, [top + _down(rate) for rate in rows["rate"].to_list()], color=LIGHT[shade], **style)
        across = [(_along(tick), f"{tick:g}") for tick in FEW]
        down = [(_down(share), word) for share, word in ((0, "0"), (0.5, "50"), (1, f"100{THIN}%"))]
        panels.frame(axes, [concept_name(name) for name in concepts], across, down)
        axes.set_xlabel("perplexity, times unsteered", fontsize=8.5)

    return draw, 0.45 + panels.total


def _along(ratio: float) -> float:
    """Where a ratio lies across a panel: from 0 at the least tick to 1 at the edge, a little off both."""
    return 0.03 + 0.94 * math.log(ratio / TICKS[0]) / math.log(EDGE / TICKS[0])


def _down(rate: float) -> float:
    """Where a rate lies down a panel."""
    return 0.96 - 0.92 * rate


def _at(points: pl.DataFrame) -> list[float]:
    return [min(max(value, TICKS[0]), EDGE) for value in points["ratio"].to_list()]


def _frame(axes: Axes, limit: float | None) -> None:
    axes.set_xscale("log", base=2)
    axes.set(xlim=(TICKS[0] * 0.93, EDGE * 1.08), ylim=(-0.05, 1.06))
    axes.set_xticks(TICKS, [f"\u2265{EDGE:g}" if tick == EDGE else f"{tick:g}" for tick in TICKS])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", f"100{THIN}%"])
    if limit is not None:
        axes.axvline(limit, color=LIGHT["muted"], linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
    axes.grid(color=LIGHT["rule"], linewidth=0.5)
    axes.set_axisbelow(True)
