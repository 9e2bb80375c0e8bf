"""The figures of truth and of steering: coherence against labels, and label rates over strength."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from steerwright.report.flux.features import Feature, feature_key
from steerwright.report.flux.report_folder import LABEL_COLOURS, MORE
from steerwright.report.flux.statistics import ABLE, ALIVE, Choice, Ends
from steerwright.report.html.figures import Draw
from steerwright.report.html.labelled_grid import signed
from steerwright.report.html.theme import DASH, FROST, LIGHT, MINUS, THIN

LAYER_SHADES = (("adaptive", "D", "-"), ("fixed", "s", "--"), ("prompt", "^", "-."), ("unsteered", "o", ":"))
LEGEND: dict[str, Any] = {
    "frameon": False, "fontsize": 8, "handletextpad": 0.4, "columnspacing": 1.2, "borderaxespad": 0.1,
    "loc": "outside upper left",
}  # fmt: skip
PANELS = 3
# Dots of a figure at most; more would fill it anyway.
DRAWN = 12_000
SHORT = {ALIVE: "of alive ones", ABLE: "of able ones"}


def label_colour(label: str | None) -> str:
    """The colour that a label is drawn in, on paper."""
    name = LABEL_COLOURS.get(label or "")
    if name is None:
        return LIGHT["unsteered"]
    return MORE[name][0] if name in MORE else LIGHT[name]


def selected_against_random(found: Sequence[Choice]) -> tuple[Draw, float]:
    """The interpretable share of the selected features of each layer, beside the range of random choices."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, one in enumerate(reversed(found)):
            axes.plot([one.low, one.high], [place - 0.17] * 2, color=LIGHT["rule"], linewidth=7, solid_capstyle="butt")
            axes.plot(one.pool.estimate, place - 0.17, "o", color=LIGHT["unsteered"], markersize=5.5,
                      markerfacecolor=LIGHT["paper"])  # fmt: skip
            axes.plot([one.selected.low, one.selected.high], [place + 0.17] * 2, color=LIGHT["adaptive"], linewidth=2)
            axes.plot(one.selected.estimate, place + 0.17, "D", color=LIGHT["adaptive"], markersize=5.5)
        names = [f"{one.layer},\n{SHORT.get(one.name, one.name)}" for one in reversed(found)]
        axes.set_yticks(range(len(found)), names, fontsize=8)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.6, len(found) - 0.4), xlabel="interpretable")
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", f"100{THIN}%"])
        _grid(axes, "x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)

    return draw, 0.7 + 0.5 * max(len(found), 1)


def coherence_against_auroc(tables: Mapping[str, pl.DataFrame], threshold: float) -> tuple[Draw, float]:
    """A panel for each layer: coherence z and AUROC of every judged latent; selected ones large, linked to their cards.

    `tables`: layer -> the frame of `truth.judged`.
    """

    def draw(figure: Figure) -> None:
        plots = figure.subplots(len(tables), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, (name, table) in zip(plots, tables.items(), strict=True):
            others, chosen = thinned(table.filter(~pl.col("selected"))), table.filter("selected")
            if others.height:
                dots(axes, others["z"].to_numpy(), others["auroc"].to_numpy(), LIGHT["unsteered"], 1.9)
            if chosen.height:
                marks = axes.scatter(
                    chosen["z"].to_list(), chosen["auroc"].to_list(), s=34, linewidths=0.8, edgecolors=LIGHT["paper"],
                    c=[label_colour(label) for label in chosen["label"].to_list()], zorder=3,
                )  # fmt: skip
                marks.set_urls([f"index.html#{feature_key(name, latent)}" for latent in chosen["latent"].to_list()])
            axes.axhline(threshold, color=LIGHT["muted"], linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
            axes.set_title(name, fontsize=9, loc="left")
            axes.set_ylabel("AUROC of its label")
            _grid(axes, "both")
        plots[-1].set_xlabel("coherence z (random pictures: 0, sd 1)")
        labels = {label: None for table in tables.values() for label in table.filter("selected")["label"].to_list()}
        handles = [plots[0].plot([], [], "o", color=label_colour(label), markersize=5.5)[0] for label in labels]
        names = [f"selected: {label}" for label in labels]
        handles.append(plots[0].plot([], [], ".", color=LIGHT["unsteered"], markersize=5)[0])
        figure.legend(handles, [*names, "other alive latents"], ncols=3, **LEGEND)

    return draw, 0.9 + 2.1 * len(tables)


def interpretable_by_coherence(parts: pl.DataFrame) -> tuple[Draw, float]:
    """The share of interpretable latents in each fifth by coherence z, with Wilson's 95 % intervals; a line a layer."""
    layers = parts["layer"].unique(maintain_order=True).to_list()

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, name in enumerate(layers):
            part = parts.filter(layer=name).sort("group")
            shade, marker, line = LAYER_SHADES[place % len(LAYER_SHADES)]
            shift = 0.06 * (place - (len(layers) - 1) / 2)
            at = [number + shift for number in part["group"].to_list()]
            axes.vlines(
                at, part["share_low"].to_list(), part["share_high"].to_list(), color=LIGHT[shade], linewidth=1.2
            )
            axes.plot(at, part["share"].to_list(), color=LIGHT[shade], marker=marker, linestyle=line, markersize=5,
                      linewidth=1.3, label=name)  # fmt: skip
        numbers = sorted(parts["group"].unique().to_list())
        words = ["least", *([""] * (len(numbers) - 2)), "most"] if len(numbers) > 1 else [""]
        axes.set_xticks(numbers, [f"{number}\n{word}" for number, word in zip(numbers, words, strict=True)])
        axes.set(xlabel="fifth of the latents by coherence z", ylabel="interpretable")
        _percent(axes)
        _grid(axes, "y")
        figure.legend(*axes.get_legend_handles_labels(), ncols=3, **LEGEND)

    return draw, 2.9


def rate_curves(rates: pl.DataFrame) -> tuple[Draw, float]:
    """A small panel for each steered feature: the share of pictures that show its label, over strength, with bands."""
    shown = rates.filter(pl.col("rate").is_not_null())
    keys = shown.select("layer", "latent").unique(maintain_order=True).rows()
    lines = -(-len(keys) // PANELS)

    def draw(figure: Figure) -> None:
        plots = figure.subplots(lines, PANELS, sharex=True, sharey=True, squeeze=False)
        for axes in plots.flat[len(keys) :]:
            axes.set_visible(False)
        for axes, (layer, latent) in zip(plots.flat, keys, strict=False):
            part = shown.filter(layer=layer, latent=latent).sort("strength")
            colour = label_colour(part["label"][0])
            strengths = part["strength"].to_list()
            axes.plot(strengths, part["rate"].to_list(), color=colour, marker="o", markersize=2.8, linewidth=1.2)
            axes.fill_between(strengths, part["low"].to_list(), part["high"].to_list(), color=colour, alpha=0.16,
                              linewidth=0)  # fmt: skip
            axes.axvline(0, color=LIGHT["muted"], linewidth=0.7, linestyle=(0, (1, 2)), zorder=0)
            axes.set_title(f"{layer} {latent}\n{part['value'][0]}", fontsize=7.5, loc="left")
            _percent(axes)
            axes.set_yticks([0, 0.5, 1], ["0", "50", f"100{THIN}%"], fontsize=7.5)
            axes.tick_params(axis="x", labelsize=7.5)
            _grid(axes, "y")
        figure.supxlabel("strength", fontsize=9)

    return draw, 0.5 + 1.25 * max(lines, 1)


def ends_dumbbell(found: Sequence[Ends]) -> tuple[Draw, float]:
    """For each feature the rate of its label at both ends of its grids and unsteered, the largest difference on top."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, one in enumerate(reversed(found)):
            colour = label_colour(one.feature.label["label"])
            axes.plot([one.rate_minus, one.rate_plus], [place, place], color=colour, linewidth=1.8, alpha=0.6, zorder=1)
            axes.plot(one.rate_minus, place, "o", color=colour, markersize=5.5, markerfacecolor=LIGHT["paper"])
            axes.plot(one.rate_plus, place, "o", color=colour, markersize=5.5)
            if one.unsteered is not None:
                axes.plot(one.unsteered, place, "|", color=LIGHT["ink"], markersize=9, markeredgewidth=1.4)
        names = [f"{one.feature.label['value']}  {one.feature.layer.name} {one.feature.latent}" for one in found]
        axes.set_yticks(range(len(found)), names[::-1], fontsize=8)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.7, len(found) - 0.3), xlabel="pictures that show its label")
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", f"100{THIN}%"])
        _grid(axes, "x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        ink = LIGHT["muted"]
        handles = [axes.plot([], [], "o", color=ink, markerfacecolor=LIGHT["paper"], markersize=5.5)[0],
                   axes.plot([], [], "|", color=LIGHT["ink"], markersize=9, markeredgewidth=1.4)[0],
                   axes.plot([], [], "o", color=ink, markersize=5.5)[0]]  # fmt: skip
        ends = {(signed(one.minus), signed(one.plus)) for one in found}
        low, high = next(iter(ends)) if len(ends) == 1 else ("least", "most")
        figure.legend(handles, [low, "unsteered", high], ncols=3, **LEGEND)

    return draw, 0.9 + 0.24 * max(len(found), 1)


def change_against_gain(trials: pl.DataFrame) -> tuple[Draw, float]:
    """Every trial of the demo search: how much the picture changed against how much of the concept came; by layer."""
    layers = trials["layer"].unique(maintain_order=True).to_list()

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, name in enumerate(layers):
            part = trials.filter(layer=name)
            shade, marker, _ = LAYER_SHADES[place % len(LAYER_SHADES)]
            axes.plot(part["score"].to_list(), part["concept_gain"].to_list(), marker, color=LIGHT[shade], markersize=4,
                      alpha=0.7, linestyle="none", label=name)  # fmt: skip
        axes.axhline(0, color=LIGHT["muted"], linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
        axes.set(xlabel="score: how much both signs change the picture", ylabel="concept gain")
        _grid(axes, "both")
        figure.legend(*axes.get_legend_handles_labels(), ncols=3, **LEGEND)

    return draw, 2.9


def dots(axes: Axes, x: Any, y: Any, colour: str, size: float) -> None:
    """Dots as one path of strokes too short to see but for their round ends: a small file, however many."""
    tiny = 1e-3 * max(float(np.ptp(x)), 1e-9)
    gaps = np.full(len(x), np.nan)
    axes.plot(np.stack([x, x + tiny, gaps], 1).ravel(), np.stack([y, y, gaps], 1).ravel(), color=colour, linewidth=size,
              solid_capstyle="round", alpha=0.7)  # fmt: skip


def thinned(table: pl.DataFrame) -> pl.DataFrame:
    """Every so-manieth row, so that at most DRAWN are left."""
    return table.gather_every(max(1, -(-table.height // DRAWN)))


def _percent(axes: Axes) -> None:
    axes.set_ylim(-0.04, 1.05)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", f"100{THIN}%"])


def _grid(axes: Axes, axis: Any) -> None:
    axes.grid(axis=axis, color=LIGHT["rule"], linewidth=0.6)
    axes.set_axisbelow(True)


# The figures of dictionaries: norms, cosines, the map and the matrix of decoder directions; densities; matches.

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
        _latent_grid(axes)
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


def _latent_grid(axes: Axes) -> None:
    axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
    axes.set_axisbelow(True)


def _power(value: float, _: object = None) -> str:
    """-2 as `1 %`: the tick of a power of ten."""
    if value > -3:
        return f"{100 * 10**value:g}{THIN}%"
    return f"10$^{{{f'{value:g}'.replace('-', MINUS)}}}$"
