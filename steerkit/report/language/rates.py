"""The figures of rates: conditions beside each other for every concept, and what removal leaves."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from steerkit.report.figures import Draw
from steerkit.report.language.content import (
    ASKED,
    CONDITIONS,
    INSTRUCTION,
    MARKS,
    REMOVED,
    UNSTEERED,
    LanguageContent,
    colour,
    concept_name,
    condition_name,
)
from steerkit.report.language.words import decoding_name
from steerkit.report.theme import LIGHT, THIN

# Marks of one concept stand a little below each other, so that none hides another.
SHIFT = 0.18
# Larger perplexity ratios are drawn at the edge.
LARGEST = 3.0


def rates_table(content: LanguageContent, conditions: Sequence[str] = CONDITIONS) -> pl.DataFrame:
    """The numbers of the figures, the conditions that are drawn."""
    wanted = pl.col("condition").is_in(list(conditions)) & pl.col("concept").is_in(content.concepts)
    return content.aggregate.filter(wanted)


def condition_rates(content: LanguageContent) -> tuple[Draw, float]:
    """Concepts down by factor, a panel for every way of decoding: the rate of each condition with its interval."""
    return _dots(content, CONDITIONS)


def condition_ratios(content: LanguageContent) -> tuple[Draw, float]:
    """The same of perplexity, in times the unsteered one; dotted: what was hoped for at most."""
    return _dots(content, [name for name in CONDITIONS if name != UNSTEERED], "ratio")


def removal_rates(content: LanguageContent) -> tuple[Draw, float]:
    """The same for what a prompt asks for, with and without the concept's direction removed."""
    return _dots(content, removal_conditions(content))


def removal_conditions(content: LanguageContent) -> tuple[str, ...]:
    """The condition that removal is compared with, and removal; none where nothing was removed."""
    present = set(content.aggregate["condition"].to_list())
    if REMOVED not in present:
        return ()
    asked = ASKED if ASKED in present else INSTRUCTION
    return asked, REMOVED


def _dots(content: LanguageContent, conditions: Sequence[str], measure: str = "rate") -> tuple[Draw, float]:
    shown = set(rates_table(content, conditions[-1:] if REMOVED in conditions else conditions)["concept"].to_list())
    places: dict[str, float] = {}
    heads: list[tuple[float, str]] = []
    y = 0.0
    for factor, concepts in content.groups().items():
        kept = [concept for concept in concepts if concept in shown]
        if not kept:
            continue
        if factor:
            heads.append((y - 0.85, factor.capitalize()))
        places |= {concept: y + place for place, concept in enumerate(kept)}
        y += len(kept) + (1.15 if factor else 0.3)

    def draw(figure: Figure) -> None:
        plots = figure.subplots(1, max(len(content.decodings), 1), sharey=True, squeeze=False)[0]
        for axes, decoding in zip(plots, content.decodings, strict=False):
            scores = {concept: content.scores(concept, decoding) for concept in places}
            for number, condition in enumerate(conditions):
                shift = SHIFT * (number - (len(conditions) - 1) / 2)
                rows = [
                    (places[name] + shift, found[condition]) for name, found in scores.items() if condition in found
                ]
                _condition(axes, rows, condition, measure)
            axes.set_title(decoding_name(decoding), fontsize=8.5, loc="left", color=LIGHT["ink"])
            axes.set_ylim(y - 1.2, -1.45 if heads else -0.8)
            if measure == "rate":
                axes.set_xlim(-0.05, 1.06)
                axes.set_xticks([0, 0.5, 1], ["0", "50", f"100{THIN}%"], fontsize=8)
            else:
                axes.set_xlim(0.45, LARGEST * 1.03)
                axes.set_xticks([1, 2, 3], ["1", "2", f"≥{LARGEST:g}\u00d7"], fontsize=8)
                axes.axvline(content.bars.ratio, color=LIGHT["muted"], linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
            axes.grid(axis="x", color=LIGHT["rule"], linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
        plots[0].set_yticks(list(places.values()), [concept_name(name) for name in places], color=LIGHT["ink"])
        for place, name in heads:
            plots[0].text(
                0.01,
                place,
                name,
                transform=plots[0].get_yaxis_transform(),
                fontsize=8.5,
                fontweight="bold",
                va="center",
                ha="left",
            )
        figure.legend(*plots[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False,
                      fontsize=8, handletextpad=0.3, columnspacing=1.4, borderaxespad=0.1)  # fmt: skip

    return draw, 1.0 + 0.27 * len(places) + 0.25 * len(heads)


def _condition(axes: Axes, rows: Sequence[tuple[float, dict[str, Any]]], condition: str, measure: str) -> None:
    """Marks with their intervals; ratios beyond LARGEST stand at the edge."""
    shade, edge = LIGHT[colour(condition)], 1.0 if measure == "rate" else LARGEST
    known = [(place, row) for place, row in rows if row[measure] is not None]
    for place, row in known:
        low, high = row[f"{measure}_low"], row[f"{measure}_high"]
        if low is not None and high is not None:
            axes.plot([min(low, edge), min(high, edge)], [place, place], color=shade, linewidth=1.3)
    axes.plot([min(row[measure], edge) for _, row in known], [place for place, _ in known], MARKS[condition],
              color=shade, markersize=4.5, linestyle="none", label=condition_name(condition))  # fmt: skip
