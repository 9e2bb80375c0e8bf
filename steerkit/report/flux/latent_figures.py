"""The figures of dictionaries: norms, cosines, the map and the matrix of decoder directions; densities; matches."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from steerkit.report.figures import Draw
from steerkit.report.flux.features import Feature
from steerkit.report.flux.figures import LAYER_SHADES, LEGEND, dots, label_colour, thinned
from steerkit.report.theme import DASH, FROST, LIGHT, MINUS, THIN

AMBER = ("#e6b873", "#f2dfc0")
SCALE = (*AMBER, "#e9eef1", *FROST[1:])
# Below these cosines; the last colour is for everything above.
COSINES = (-0.2, -0.05, 0.05, 0.15, 0.3, 0.5, 0.8)
BINS = 40


def histogram_table(
    values: Mapping[str, pl.Series], low: float | None = None, high: float | None = None
) -> pl.DataFrame:
    """Share of values in equal bins over all series: layer, low, high, count, share. Nulls are left out."""
    known = {name: series.drop_nulls().drop_nans().to_numpy() for name, series in values.items()}
    joined = np.concatenate(list(known.values())) if known else np.empty(0)
    schema = {"layer": pl.String, "low": pl.Float64, "high": pl.Float64, "count": pl.Int64, "share": pl.Float64}
    if joined.size == 0:
        return pl.DataFrame(schema=schema)
    first = float(joined.min()) if low is None else low
    last = float(joined.max()) if high is None else high
    # Norms that are all 1 up to rounding are one bin, not forty of noise.
    if last - first < 1e-4:
        first, last = first - 0.05, last + 0.05
    edges = np.linspace(first, last, BINS + 1)
    rows = []
    for name, some in known.items():
        counts, _ = np.histogram(some, edges)
        rows += [
            {"layer": name, "low": float(a), "high": float(b), "count": int(n), "share": n / max(1, some.size)}
            for (a, b), n in zip(pairwise(edges), counts, strict=True)
        ]
    return pl.DataFrame(rows, schema=schema)


def outlines(table: pl.DataFrame, words: str, noun: str = "latents", powers: bool = False) -> tuple[Draw, float]:
    """Histograms as outlines, a layer each; `table` as `histogram_table` gives it; `powers`: of ten."""
    layers = table["layer"].unique(maintain_order=True).to_list()

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, name in enumerate(layers):
            part = table.filter(layer=name).sort("low")
            shade, _, line = LAYER_SHADES[place % len(LAYER_SHADES)]
            axes.stairs(part["share"].to_list(), [*part["low"].to_list(), part["high"][-1]], color=LIGHT[shade],
                        linestyle=line, linewidth=1.3, label=name)  # fmt: skip
        axes.set(xlabel=words, ylabel=f"share of {noun}", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=powers))
        if powers:
            axes.xaxis.set_major_formatter(FuncFormatter(_power))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}{THIN}%"))
        _grid(axes)
        if len(layers) > 1:
            figure.legend(*axes.get_legend_handles_labels(), ncols=3, **LEGEND)

    return draw, 2.6


def direction_map(table: pl.DataFrame, features: Sequence[Feature]) -> tuple[Draw, float]:
    """Every direction at its place (x, y) in the colour of its label; selected ones large, with a link to their card.

    `table`: latent, x, y, label (null where it matches none). Of many directions some are drawn (`figures.thinned`).
    """
    shown = thinned(table)
    places = {row["latent"]: row for row in table.iter_rows(named=True)}
    chosen = [feature for feature in features if feature.latent in places]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        labels = [None, *sorted(label for label in shown["label"].unique().to_list() if label is not None)]
        handles, names = [], []
        for label in labels:
            part = shown.filter(pl.col("label").is_null() if label is None else pl.col("label") == label)
            if part.height:
                colour = label_colour(label)
                dots(axes, part["x"].to_numpy(), part["y"].to_numpy(), colour, 1.7 if label is None else 3.2)
                handles.append(axes.plot([], [], "o", color=colour, markersize=4)[0])
                names.append(label or "no label")
        if chosen:
            marks = axes.scatter(
                [places[one.latent]["x"] for one in chosen], [places[one.latent]["y"] for one in chosen], s=42,
                c=[label_colour(one.label.get("label")) for one in chosen], edgecolors=LIGHT["ink"], linewidths=0.9,
                zorder=3,
            )  # fmt: skip
            marks.set_urls([f"index.html#{one.key}" for one in chosen])
            for one in chosen:
                place = places[one.latent]
                axes.annotate(f"{one.latent}", (place["x"], place["y"]), (4, 3), textcoords="offset points",
                              fontsize=7, zorder=4)  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_visible(False)
        figure.legend(handles, names, ncols=4, **LEGEND)

    return draw, 4.6


def similarity_matrix(
    latents: Sequence[int], names: Sequence[str], cosines: Mapping[tuple[int, int], float]
) -> tuple[Draw, float]:
    """Decoder cosines of `latents` down and across; a pair that is not known is left open."""
    each = 0.2

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        paths: dict[int, list[Path]] = {}
        for y, first in enumerate(latents):
            for x, second in enumerate(latents):
                value = 1.0 if first == second else cosines.get((first, second), cosines.get((second, first)))
                if value is not None:
                    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) + np.array([x, y]) - 0.5
                    paths.setdefault(sum(value >= bound for bound in COSINES), []).append(Path(corners, closed=True))
        for level, some in sorted(paths.items()):
            axes.add_patch(PathPatch(Path.make_compound_path(*some), facecolor=SCALE[level], edgecolor=LIGHT["paper"],
                                     linewidth=0.6))  # fmt: skip
        axes.set(xlim=(-0.5, len(latents) - 0.5), ylim=(len(latents) - 0.5, -0.5), aspect="equal")
        axes.set_yticks(range(len(latents)), names, fontsize=7.5)
        axes.set_xticks(range(len(latents)), [str(latent) for latent in latents], rotation=90, fontsize=7.5)
        axes.xaxis.tick_top()
        for side in axes.spines.values():
            side.set_visible(False)
        axes.tick_params(length=0)
        handles = [Rectangle((0, 0), 1, 1, facecolor=colour, linewidth=0) for colour in SCALE]
        order = [place for column in range(4) for place in range(column, len(handles), 4)]
        words = _cosine_words()
        figure.legend([handles[place] for place in order], [words[place] for place in order], ncols=4, handlelength=1,
                      handleheight=0.9, **(LEGEND | {"loc": "outside lower left"}))  # fmt: skip

    return draw, 1.5 + each * max(len(latents), 4)


def _cosine_words() -> list[str]:
    ends = [f"{bound:g}".replace("-", MINUS) for bound in COSINES]
    middle = [f"{low} {DASH} {high}" for low, high in pairwise(ends)]
    return [f"< {ends[0]}", *middle, f"≥ {ends[-1]}"]


def _grid(axes: Axes) -> None:
    axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
    axes.set_axisbelow(True)


def _power(value: float, _: object = None) -> str:
    """-2 as `1 %`: the tick of a power of ten."""
    if value > -3:
        return f"{100 * 10**value:g}{THIN}%"
    return f"10$^{{{f'{value:g}'.replace('-', MINUS)}}}$"
