"""The figures, drawn once: as PNG on paper, and as SVG whose colours the page's theme decides."""

from __future__ import annotations

import io
import json
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from steerwright.report.html.page import Html, el, figure, join
from steerwright.report.html.theme import CONDITION_NAMES, FROST, LIGHT, MARKERS, decimal, percent

if TYPE_CHECKING:
    from steerwright.scoring.target import Target

Draw = Callable[[Figure], None]

# Narrow enough that letters stay readable when a phone shrinks the figure to its width.
WIDTH = 4.4
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": LIGHT["muted"], "axes.labelcolor": LIGHT["ink"], "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"], "text.color": LIGHT["ink"], "axes.linewidth": 0.7, "xtick.major.width": 0.7,
    "ytick.major.width": 0.7, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "svg.fonttype": "none",
    "axes.unicode_minus": True, "axes.facecolor": "none",
}  # fmt: skip


def winter_rates(
    aggregate: pl.DataFrame, target: Target, conditions: Mapping[str, str] = CONDITION_NAMES
) -> tuple[Draw, float]:
    """Share of winter outdoors for each condition, with its interval; returns the drawing and its height in inches."""
    group = "outdoor" if target.outdoors else "all"
    rows = aggregate.filter(metric=f"{target.key}_rate", group=group).to_dicts()

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, row in enumerate(reversed(rows)):
            name = row["condition"]
            axes.plot(
                [row["low"], row["high"]], [place, place], color=LIGHT[name], linewidth=2.2, solid_capstyle="butt"
            )
            axes.plot(row["estimate"], place, marker=MARKERS[name], color=LIGHT[name], markersize=7, linestyle="none")
            axes.annotate(
                percent(row["estimate"]), (1.04, place), xycoords=("data", "data"), va="center", ha="left",
                annotation_clip=False,
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [conditions[row["condition"]] for row in reversed(rows)])
        shown = f"share of {target.pictures} that show {target.name}"
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(rows) - 0.4), xlabel=shown)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", f"{100} %"])
        _bare(axes)
        axes.grid(axis="x", color=LIGHT["rule"], linewidth=0.7)

    return draw, 0.9 + 0.36 * max(len(rows), 1)


def search_heatmap(search: pl.DataFrame, objective: str) -> tuple[Draw, float]:
    """The grid trials with one strength at all layers: layer sets down, strengths across, the best score of each cell.

    Below them a line for every other trial, with the strength at each of its layers: those that were written out, and
    those that refined the grid. The chosen one is framed wherever it stands.
    """
    on_grid = (pl.col("kind") == "grid") & pl.col("strength").is_not_null()
    grid = (
        search.filter(on_grid)
        .group_by("layers", "strength", maintain_order=True)
        .agg(pl.col("score").max(), pl.col("chosen").any())
    )
    others = search.filter(~on_grid).to_dicts()
    layers = grid["layers"].unique(maintain_order=True).to_list()
    strengths = sorted(grid["strength"].unique().to_list())
    scores = search["score"].to_list()
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    frost = LinearSegmentedColormap.from_list("frost", FROST)

    def cell(axes: Axes, row: dict[str, Any], x: float, y: float, said: str = "") -> None:
        width = 0.96
        share = (row["score"] - low) / (high - low) if high > low else 0.5
        corner = (x - width / 2, y - 0.47)
        axes.add_patch(Rectangle(corner, width, 0.94, facecolor=frost(share), linewidth=0))
        # Not theme colours: these letters stand on the cell, whatever the page's theme.
        ink = "#ffffff" if share > 0.5 else "#10202c"
        weight = "bold" if row["chosen"] else "normal"
        score = decimal(row["score"], 2)
        if said:
            axes.text(x - 0.46, y, said, ha="left", va="center", color=ink, fontsize=8, fontweight=weight)
            axes.text(x + 0.46, y, score, ha="right", va="center", color=ink, fontsize=8.5, fontweight=weight)
        else:
            axes.text(x, y, score, ha="center", va="center", color=ink, fontsize=8.5, fontweight=weight)
        if row["chosen"]:
            axes.add_patch(Rectangle(corner, width, 0.94, facecolor="none", edgecolor=LIGHT["fixed"], linewidth=2.2))

    def draw(figure: Figure) -> None:
        sizes = [count for count in (len(layers), len(others)) if count]
        drawn = figure.subplots(max(len(sizes), 1), 1, squeeze=False, height_ratios=sizes or [1])[:, 0]
        if layers or not others:
            axes = drawn[0]
            for row in grid.iter_rows(named=True):
                cell(axes, row, strengths.index(row["strength"]), layers.index(row["layers"]))
            axes.set(xlim=(-0.5, len(strengths) - 0.5), ylim=(len(layers) - 0.5, -0.5))
            axes.set_xticks(range(len(strengths)), [f"{strength:g}" for strength in strengths])
            axes.set_yticks(range(len(layers)), layers)
            axes.set(xlabel="strength ε", ylabel="text-encoder layers")
        if others:
            axes = drawn[-1]
            for number, row in enumerate(others):
                cell(axes, row, 0, number, _written(row))
            axes.set(xlim=(-0.5, 0.5), ylim=(len(others) - 0.5, -0.5))
            axes.set_xticks([])
            axes.set_yticks(range(len(others)), [row["kind"] for row in others])
            axes.set_title("layer: its strength", fontsize=8.5, color=LIGHT["muted"], loc="left")
        drawn[0].set_title(textwrap.fill(objective, 54), fontsize=9, color=LIGHT["muted"], loc="left")
        for axes in drawn:
            for side in axes.spines.values():
                side.set_visible(False)
            axes.tick_params(length=0)

    return draw, 1.1 + 0.34 * max(len(layers), 2) + (0.5 + 0.3 * len(others) if others else 0.0)


def _written(row: dict[str, Any]) -> str:
    """A trial as its layers and the strength at each: `0: 0.4, 6: 0.25`."""
    layers = row["layers"].split(", ")
    each = row["strengths"].split(", ") if row.get("strengths") else [f"{row['strength']:g}"] * len(layers)
    return ", ".join(f"{layer}: {strength}" for layer, strength in zip(layers, each, strict=True))


def similarity_scatter(
    per_prompt: pl.DataFrame, target: Target, conditions: Mapping[str, str] = CONDITION_NAMES
) -> tuple[Draw, float]:
    """Each prompt's mean similarity to winter against that to its own prompt, for each condition."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for name in conditions:
            part = per_prompt.filter(condition=name)
            if part.height == 0:
                continue
            strong = name in ("fixed", "adaptive", "unsteered")
            axes.plot(
                part["prompt_similarity"].to_list(), part[f"{target.key}_similarity"].to_list(), MARKERS[name],
                color=LIGHT[name], markersize=5 if strong else 4, alpha=0.85 if strong else 0.55,
                markerfacecolor=LIGHT[name] if strong else "none", label=conditions[name],
            )  # fmt: skip
        axes.set(xlabel="similarity to the original prompt", ylabel=f"similarity to {target.name}")
        axes.grid(color=LIGHT["rule"], linewidth=0.6)
        axes.set_axisbelow(True)
        columns = 5 if len("".join(conditions.values())) <= 45 else 3
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=columns, frameon=False,
                      fontsize=8, handletextpad=0.1, columnspacing=0.9, borderaxespad=0.1)  # fmt: skip

    return draw, 3.7


def activation_difference(activations: pl.DataFrame) -> tuple[Draw, float]:
    """How far apart positive and negative prompts are at each layer, a line for each kind of token."""
    colours = ("adaptive", "fixed", "prompt", "unsteered", "random")

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        kinds = activations["tokens"].unique(maintain_order=True).to_list()
        for place, kind in enumerate(kinds):
            part = activations.filter(tokens=kind).sort("layer")
            colour = colours[place % len(colours)]
            axes.plot(part["layer"].to_list(), part["difference"].to_list(), marker=MARKERS[colour], markersize=4.5,
                      color=LIGHT[colour], linewidth=1.3, label=kind)  # fmt: skip
        layers = sorted(activations["layer"].unique().to_list())
        axes.set_xticks(layers[:: -(-len(layers) // 12)] if layers else [])
        axes.set(xlabel="text-encoder layer", ylabel="‖mean difference‖", ylim=(0, None))
        axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
        axes.set_axisbelow(True)
        if len(kinds) > 1:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False,
                          fontsize=8, handletextpad=0.4, columnspacing=1.2, borderaxespad=0.1)  # fmt: skip

    return draw, 3.0


def save_png(drawing: tuple[Draw, float], path: Path) -> None:
    """The figure on paper, 200 dots an inch; the same content gives the same bytes."""
    with mpl.rc_context(STYLE):
        figure = _figure(drawing)
        figure.savefig(path, dpi=200, facecolor=LIGHT["paper"], metadata={"Software": None})


def to_svg(drawing: tuple[Draw, float], name: str) -> str:
    """An <svg> element for the page: its theme's colours, its letters, no ids that another figure may have."""
    out = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = _figure(drawing)
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"[(\"]#([\w.-]+)[)\"]", svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r"([(\"])#([\w.-]+)([)\"])", rf"\1#{name}-\2\3", svg)
    svg = svg.replace("'DejaVu Sans'", "var(--sans)")
    for variable, colour in LIGHT.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return re.sub(r"<svg ", '<svg class="figure" aria-hidden="true" ', svg, count=1)


def _figure(drawing: tuple[Draw, float]) -> Figure:
    draw, height = drawing
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    draw(figure)
    return figure


def _bare(axes: Axes) -> None:
    """No line and no ticks on the left: names stand for themselves."""
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    for label in axes.get_yticklabels():
        label.set_color(LIGHT["ink"])


# What lies beside a page: its figures as PNG and the numbers behind them as CSV.


@dataclass(frozen=True, slots=True)
class DrawnFigure:
    """A figure within the page, and the table behind it."""

    svg: str
    table: pl.DataFrame


def save_figure(folder: Path, name: str, drawn: tuple[Draw, float], table: pl.DataFrame) -> DrawnFigure:
    """Write NAME.png and NAME.csv, and give the figure for the page."""
    save_png(drawn, folder / f"{name}.png")
    save_table(folder, name, table)
    return DrawnFigure(to_svg(drawn, name), table)


def save_table(folder: Path, name: str, table: pl.DataFrame) -> None:
    """Write NAME.csv; lists become words with spaces between them."""
    lists = [column for column, kind in table.schema.items() if isinstance(kind, pl.List)]
    flat = table.with_columns(pl.col(column).list.eval(pl.element().cast(pl.String)).list.join(" ") for column in lists)
    flat.write_csv(folder / f"{name}.csv", float_precision=6)


def save_json(folder: Path, **values: Any) -> None:
    """Write NAME.json for each of `values`."""
    for name, value in values.items():
        (folder / f"{name}.json").write_text(json.dumps(value, indent=1, default=str) + "\n")


class Attachments:
    """Writes tables into data/ and figures into figures/ of a report's folder; links are relative to its pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("data", "figures"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def table(self, name: str, table: pl.DataFrame) -> Html:
        """Write data/NAME.csv and return a link to it."""
        save_table(self.folder / "data", name, table)
        return el("a", f"{name}.csv", href=f"data/{name}.csv", download=True)

    def titled_figure(self, name: str, drawn: tuple[Draw, float], numbers: Html, title: str, caption: str) -> Html:
        """Write figures/NAME.png and return the figure for the page.

        `numbers`: the link of `table` to what is drawn; `title` stands above and is read aloud.
        """
        save_png(drawn, self.folder / "figures" / f"{name}.png")
        links = join([numbers, el("a", f"{name}.png", href=f"figures/{name}.png", download=True)], " ")
        shown = figure(to_svg(drawn, name), f"{title}. {caption}".strip(". "), caption, links)
        return el("div", el("h3", title), shown) if title else shown
