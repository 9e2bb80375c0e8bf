"""What an edit does over its strength: on the scored prompts with intervals, and on the tuning prompts."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from steerwright.report.attention.content import COLOURS, EditTables
from steerwright.report.html.figures import Draw
from steerwright.report.html.theme import DASH, FROST, LIGHT, THIN

SHARES = {
    "concept_by_labels": ("by labels", "adaptive", "D", "-"),
    "concept_by_clip": ("by CLIP", "prompt", "^", "--"),
    "others_kept": ("other labels kept", "fixed", "s", "-."),
}
DISTANCES = {
    "all": ("all prompts", "adaptive", "D", "-"),
    "outdoor": ("outdoors", "adaptive", "D", "-"),
    "contains": ("names it", "adaptive", "D", "-"),
    "neighbour": ("near to it", "prompt", "^", "--"),
    "other": ("other prompts", "fixed", "s", "-."),
}
LEGEND = {"frameon": False, "fontsize": 8, "handlelength": 2.2, "handletextpad": 0.5, "columnspacing": 1.2,
          "borderaxespad": 0.0, "loc": "lower left", "bbox_to_anchor": (0, 1.01)}  # fmt: skip


def strength_curves(scores: EditTables, perceptual: str) -> tuple[Draw, float]:
    """Shares above, perceptual distance below, both against strength; the bands are the intervals."""
    point = float(scores.point["strength"])
    shares = {metric: scores.curve(scores.measured, metric) for metric in _shares(scores)}
    kinds = (scores.measured, *scores.elsewhere)
    distances = {kind: scores.curve(kind, "lpips") for kind in kinds}
    controls = {name: scores.at(name, scores.measured, scores.rate) for name in ("random", "prompt", "negative")}

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for metric, rows in shares.items():
            name, colour, marker, line = _shares(scores)[metric]
            _curve(upper, rows, colour, marker, line, name)
        # Controls have no strength of their own: marks at the right edge, on the scale of the shares.
        edge = max([point, *(row["strength"] for rows in shares.values() for row in rows)]) * 1.07
        for control, row in controls.items():
            if row is not None:
                mark = {"random": "X", "prompt": "P", "negative": "v"}[control]
                name = {"random": "random", "prompt": "in words", "negative": "negative prompt"}[control]
                upper.plot(edge, row["estimate"], mark, color=LIGHT[COLOURS[control]], markersize=6.5, clip_on=False,
                           markerfacecolor="none", markeredgewidth=1.4, label=name, linestyle="none")  # fmt: skip
        for kind, rows in distances.items():
            name, colour, marker, line = DISTANCES.get(kind, DISTANCES["all"])
            _curve(lower, rows, colour, marker, line, name)
        _percent(upper, "share of pictures")
        lower.set(ylabel=perceptual, xlabel="strength", ylim=(0, None), xlim=(-edge * 0.03, edge * 1.02))
        _strength_ticks(lower)
        for axes in (upper, lower):
            axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
            axes.set_axisbelow(True)
            axes.axvline(point, color=LIGHT["muted"], linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(ncols=3, **LEGEND)
        lower.annotate(f"chosen: {point:g}", (point, 1), (3 if point < edge / 2 else -3, -2),
                       xycoords=("data", "axes fraction"), textcoords="offset points", va="top", fontsize=8,
                       ha="left" if point < edge / 2 else "right", color=LIGHT["muted"])  # fmt: skip

    return draw, 4.5


def tuning_curves(trials: pl.DataFrame) -> tuple[Draw, float]:
    """What is wanted and what is kept on the tuning prompts: the chosen places in colour, the others behind in grey."""
    chosen = trials.filter(pl.col("chosen"))
    best = chosen.to_dicts()[0] if chosen.height else None
    places = best["places"] if best else None
    lines = [
        (name, part.sort("strength").to_dicts())
        for name in trials["places"].unique(maintain_order=True).to_list()
        for part in [trials.filter(places=name)]
    ]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for name, rows in lines:
            if name != places:
                for metric, line in (("wanted", "-"), ("kept", ":")):
                    axes.plot(_values(rows, "strength"), _values(rows, metric), color=LIGHT["random"], linewidth=0.8,
                              linestyle=line, marker=".", markersize=3, alpha=0.6)  # fmt: skip
        for name, rows in lines:
            if name == places or places is None:
                for metric, colour, marker, line in (("wanted", "adaptive", "D", "-"), ("kept", "fixed", "s", "-.")):
                    label = {"wanted": "wanted", "kept": "kept"}[metric]
                    axes.plot(_values(rows, "strength"), _values(rows, metric), color=LIGHT[colour], linewidth=1.4,
                              linestyle=line, marker=marker, markersize=4, label=label)  # fmt: skip
        if len(lines) > 1 and places is not None:
            axes.plot([], [], color=LIGHT["random"], linewidth=0.8, marker=".", label="other places")
        if best is not None:
            for metric in ("wanted", "kept"):
                axes.plot(best["strength"], best[metric], "o", color=LIGHT["ink"], markersize=11, fillstyle="none",
                          markeredgewidth=1, clip_on=False)  # fmt: skip
        _percent(axes, "on tuning prompts, by CLIP")
        axes.set(xlabel="strength")
        _strength_ticks(axes)
        axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(ncols=3, **LEGEND)

    return draw, 3.0


def curve_table(scores: EditTables) -> pl.DataFrame:
    """The numbers of `strength_curves`."""
    wanted = [(scores.measured, metric) for metric in _shares(scores)]
    wanted += [(kind, "lpips") for kind in (scores.measured, *scores.elsewhere)]
    rows = [row for kind, metric in wanted for row in scores.curve(kind, metric)]
    rows += [row for name in ("random", "prompt", "negative") if (row := scores.at(name, scores.measured, scores.rate))]
    return pl.DataFrame(rows, schema=scores.rows.schema)


def _shares(scores: EditTables) -> dict[str, tuple[str, str, str, str]]:
    """The shares that are drawn; CLIP's mean probability where it is all there is."""
    if scores.rate == "concept_probability":
        return {"concept_probability": ("CLIP's probability", "prompt", "^", "--")} | {
            "others_kept": SHARES["others_kept"]
        }
    return SHARES


def _curve(axes: Axes, rows: Sequence[dict[str, Any]], colour: str, marker: str, line: str, name: str) -> None:
    if not rows:
        return
    axes.plot(_values(rows, "strength"), _values(rows, "estimate"), color=LIGHT[colour], linewidth=1.4, linestyle=line,
              marker=marker, markersize=4, label=name)  # fmt: skip
    banded = [row for row in rows if row["low"] is not None and row["high"] is not None]
    axes.fill_between(_values(banded, "strength"), _values(banded, "low"), _values(banded, "high"),
                      color=LIGHT[colour], alpha=0.16, linewidth=0)  # fmt: skip


def _values(rows: Sequence[dict[str, Any]], column: str) -> list[float]:
    return [float("nan") if row[column] is None else float(row[column]) for row in rows]


def _strength_ticks(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _percent(axes: Axes, label: str) -> None:
    axes.set(ylim=(-0.03, 1.04), ylabel=label)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", f"100{THIN}%"])


# Where a concept's vectors are strong, and how they turn: heatmaps over blocks and steps.
#
# Cells are coloured in few steps, so that a colour can be read back from the legend, and each colour is one path, so
# that a page stays small with seventy blocks and fifty steps.

TIMES = "\u00d7"
# Frost from a shade that stands out from the paper, where an empty place is no cell; amber is below zero.
SCALE, AMBER = ("#dfe8ee", *FROST[1:]), "#e6b873"
NICE = (1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)
SHARE_TICKS, COSINE_TICKS = (0.2, 0.4, 0.6, 0.8, 0.9), (0.0, 0.25, 0.5, 0.75, 0.9, 0.97)
PANELS: dict[str | None, str] = {"cross": "cross-attention", "self": "self-attention"}
BRANCHES: dict[str | None, str] = {
    "both": "both branches", "cond": "conditional branch", "uncond": "unconditional branch", "": "", None: "",
}  # fmt: skip

Value = Callable[[dict[str, Any]], float | None]


def norm_heatmap(vectors: pl.DataFrame) -> tuple[Draw, float]:
    """Norms as multiples of the noise level, a cross on vectors that are noise; shares of the largest without one."""
    rows = vectors.to_dicts()
    if any(row["control"] for row in rows):
        ratios = [_ratio(row) for row in rows]
        bounds = _bounds(max((ratio for ratio in ratios if ratio is not None), default=1.0))
        return _heatmap(rows, [("", _ratio)], bounds, SCALE, TIMES, True)
    # Self- and cross-attention of a block share its name.
    largest: dict[tuple[str, str | None], float] = {}
    for row in rows:
        place = row["block"], row.get("attention")
        largest[place] = max(largest.get(place, 0.0), row["norm"])

    def share(row: dict[str, Any]) -> float | None:
        of = largest[row["block"], row.get("attention")]
        return row["norm"] / of if of else None

    return _heatmap(rows, [("", share)], SHARE_TICKS, SCALE, "", True)


def cosine_heatmap(vectors: pl.DataFrame) -> tuple[Draw, float]:
    """Cosines of each vector to its block's next one in time, and to its block's mean over time."""

    def to_next(row: dict[str, Any]) -> float | None:
        cosine: float | None = row["cosine_next"]
        return cosine

    def to_mean(row: dict[str, Any]) -> float | None:
        cosine: float | None = row["cosine_mean"]
        return cosine

    values: list[tuple[str, Value]] = [("to the next step", to_next), ("to the mean over steps", to_mean)]
    return _heatmap(vectors.to_dicts(), values, COSINE_TICKS, (AMBER, *SCALE), "", False)


def _heatmap(
    rows: list[dict[str, Any]], values: Sequence[tuple[str, Value]], bounds: Sequence[float], scale: Sequence[str],
    unit: str, marked: bool,
) -> tuple[Draw, float]:  # fmt: skip
    # Few levels still go from the lightest to the darkest.
    colours = [scale[round(level * (len(scale) - 1) / len(bounds))] for level in range(len(bounds) + 1)]
    groups = list(dict.fromkeys((row.get("attention"), row["branch"]) for row in rows))
    panels = [(name, value, group) for name, value in values for group in groups]
    several_kinds = len({group[0] for group in groups}) > 1
    blocks = list(dict.fromkeys(row["block"] for row in rows))
    each = min(max(0.17 * len(blocks), 0.5), 7.0)

    def draw(figure: Figure) -> None:
        plots = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, value, group) in zip(plots, panels, strict=True):
            part = [row for row in rows if (row.get("attention"), row["branch"]) == group]
            _panel(axes, part, blocks, value, bounds, colours, marked)
            words = [name, PANELS.get(group[0], "") if several_kinds else "", BRANCHES.get(group[1], str(group[1]))]
            axes.set_title(", ".join(word for word in words if word), fontsize=8.5, color=LIGHT["muted"], loc="left")
        plots[-1].set_xlabel("step (0 begins with noise)")
        handles = [Rectangle((0, 0), 1, 1, facecolor=colour, linewidth=0) for colour in colours]
        labels = _labels(bounds, unit)
        if marked and any(row["noise"] for row in rows):
            handles.append(plots[0].plot([], [], "x", color=LIGHT["muted"], markersize=4)[0])
            labels.append("noise")
        # Legends fill columns; read along its rows, the scale ascends.
        order = [place for column in range(4) for place in range(column, len(labels), 4)]
        figure.legend([handles[place] for place in order], [labels[place] for place in order],
                      loc="outside upper left", ncols=4, frameon=False, fontsize=8, handlelength=1,
                      handleheight=0.9, handletextpad=0.4, columnspacing=1.1, borderaxespad=0.1)  # fmt: skip

    return draw, 0.95 + len(panels) * (each + 0.35)


def _panel(
    axes: Axes, rows: list[dict[str, Any]], blocks: list[str], value: Value, bounds: Sequence[float],
    colours: Sequence[str], marked: bool,
) -> None:  # fmt: skip
    paths: dict[int, list[Path]] = {}
    for row in rows:
        found, y = value(row), blocks.index(row["block"])
        if found is None:
            continue
        left, right = row["step_first"] - 0.5, row["step_last"] + 0.5
        corners = [(left, y - 0.5), (right, y - 0.5), (right, y + 0.5), (left, y + 0.5), (left, y - 0.5)]
        paths.setdefault(sum(found >= bound for bound in bounds), []).append(Path(corners, closed=True))
    for level, some in sorted(paths.items()):
        cells = Path.make_compound_path(*some)
        axes.add_patch(PathPatch(cells, facecolor=colours[level], edgecolor=LIGHT["paper"], linewidth=0.4))
    noise = [row for row in rows if row["noise"]] if marked else []
    if noise:
        # Not a theme colour: the mark stands on a light cell, whatever the page's theme.
        axes.plot([(row["step_first"] + row["step_last"]) / 2 for row in noise],
                  [blocks.index(row["block"]) for row in noise], "x", color="#5d6b76", markersize=2.6,
                  markeredgewidth=0.7)  # fmt: skip
    first, last = min(row["step_first"] for row in rows), max(row["step_last"] for row in rows)
    axes.set(xlim=(first - 0.5, last + 0.5), ylim=(len(blocks) - 0.5, -0.5))
    stride = -(-len(blocks) // 36)
    axes.set_yticks(range(0, len(blocks), stride), blocks[::stride], fontsize=7.5)
    steps = range(first, last + 1, max(1, -(-(last - first + 1) // 10)))
    axes.set_xticks(list(steps), [str(step) for step in steps])
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)


def _ratio(row: dict[str, Any]) -> float | None:
    return row["norm"] / row["control"] if row["control"] else None


def _bounds(largest: float) -> tuple[float, ...]:
    """1, and up to four rounder numbers up to the largest."""
    below = [number for number in NICE if number < largest]
    last = len(below) - 1
    kept = below if last < 4 else [below[round(place * last / 3)] for place in range(4)]
    return (1, *dict.fromkeys(kept))


def _labels(bounds: Sequence[float], unit: str) -> list[str]:
    gap = THIN if unit else ""
    middle = [f"{low:g}{DASH}{high:g}{gap}{unit}" for low, high in pairwise(bounds)]
    return [f"< {bounds[0]:g}{gap}{unit}", *middle, f"≥ {bounds[-1]:g}{gap}{unit}"]
