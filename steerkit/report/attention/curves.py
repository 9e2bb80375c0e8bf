"""What an edit does over its strength: on the scored prompts with intervals, and on the tuning prompts."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from steerkit.report.attention.content import COLOURS, EditScores
from steerkit.report.figures import Draw
from steerkit.report.theme import LIGHT, THIN

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


def strength_curves(scores: EditScores, perceptual: str) -> tuple[Draw, float]:
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


def curve_table(scores: EditScores) -> pl.DataFrame:
    """The numbers of `strength_curves`."""
    wanted = [(scores.measured, metric) for metric in _shares(scores)]
    wanted += [(kind, "lpips") for kind in (scores.measured, *scores.elsewhere)]
    rows = [row for kind, metric in wanted for row in scores.curve(kind, metric)]
    rows += [row for name in ("random", "prompt", "negative") if (row := scores.at(name, scores.measured, scores.rate))]
    return pl.DataFrame(rows, schema=scores.rows.schema)


def _shares(scores: EditScores) -> dict[str, tuple[str, str, str, str]]:
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
