"""Where a concept's vectors are strong, and how they turn: heatmaps over blocks and steps.

Cells are coloured in few steps, so that a colour can be read back from the legend, and each colour is one path, so
that a page stays small with seventy blocks and fifty steps.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from steerkit.report.figures import Draw
from steerkit.report.theme import DASH, FROST, LIGHT, THIN

TIMES = "\u00d7"
# Frost from a shade that stands out from the paper, where an empty place is no cell; amber is below zero.
SCALE, AMBER = ("#dfe8ee", *FROST[1:]), "#e6b873"
NICE = (1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)
SHARES, COSINES = (0.2, 0.4, 0.6, 0.8, 0.9), (0.0, 0.25, 0.5, 0.75, 0.9, 0.97)
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

    return _heatmap(rows, [("", share)], SHARES, SCALE, "", True)


def cosine_heatmap(vectors: pl.DataFrame) -> tuple[Draw, float]:
    """Cosines of each vector to its block's next one in time, and to its block's mean over time."""

    def to_next(row: dict[str, Any]) -> float | None:
        cosine: float | None = row["cosine_next"]
        return cosine

    def to_mean(row: dict[str, Any]) -> float | None:
        cosine: float | None = row["cosine_mean"]
        return cosine

    values: list[tuple[str, Value]] = [("to the next step", to_next), ("to the mean over steps", to_mean)]
    return _heatmap(vectors.to_dicts(), values, COSINES, (AMBER, *SCALE), "", False)


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
