"""The tables of the page: every concept at its operating point, all measurements, mixes."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import polars.selectors as cs
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from steerwright.report.attention.tables import slug
from steerwright.report.html.figures import Draw
from steerwright.report.html.page import Html, el, scrolling, verdict
from steerwright.report.html.theme import DASH, LIGHT, THIN, decimal, percent, span
from steerwright.report.language.content import (
    ASKED,
    CONDITION_NAMES,
    CONDITIONS,
    INSTRUCTION,
    MARKS,
    REMOVED,
    STEERED,
    UNSTEERED,
    LanguageContent,
    colour,
    concept_name,
    condition_name,
)
from steerwright.report.language.words import UNITS, Verdict, decoding_name, safe_to, times, verdicts

MEASURES = {
    "rate": "Rate", "perplexity": "Perplexity", "ratio": "Times unsteered", "distinct_1": "Distinct-1",
    "distinct_2": "Distinct-2", "repeated": "Repeated", "kl": "KL", "texts": "Texts",
}  # fmt: skip


def text_id(concept: str) -> str:
    """What links to the texts of a concept lead to."""
    return f"texts-{slug(concept)}"


def concepts_table(content: LanguageContent, decoding: str) -> Html:
    """A row for each concept, by factor: rates and perplexity with intervals, operating point, and the verdict."""
    met = {one.concept: one for one in verdicts(content) if one.decoding == decoding}
    present = [name for name in (STEERED, *CONDITIONS) if _there(content, name, decoding)]
    columns = list(dict.fromkeys(present))
    rows: list[Html] = []
    for factor, concepts in content.groups().items():
        shown = [concept for concept in concepts if content.scores(concept, decoding)]
        if factor and shown:
            heading = el("th", el("span", factor.capitalize()), scope="rowgroup", colspan=6 + len(columns))
            rows.append(el("tr", heading, class_="group"))
        rows += [_concept(content, concept, decoding, columns, met.get(concept)) for concept in shown]
    units = {str(point.get("units")) for point in content.chosen.values() if point.get("units")}
    said = UNITS.get(next(iter(units)), "") if len(units) == 1 else ""
    top = [
        el("th", "Concept", scope="col"), *map(_head, columns),
        el("th", "Perplexity", el("small", "steered, times unsteered"), scope="col", class_="n"),
        el("th", "Layer", scope="col", class_="n"),
        el("th", "Strength", el("small", said) if said else "", scope="col", class_="n"),
        el("th", "Safe to", scope="col", class_="n"), el("th", "As hoped", scope="col"),
    ]  # fmt: skip
    return scrolling("Concepts at their operating points", [el("tr", *top)], rows)


def measurements(content: LanguageContent) -> Html:
    """Everything in the aggregate: a row for each concept, condition and way of decoding."""
    rows: list[Html] = []
    table = content.aggregate.with_columns(cs.float().fill_nan(None))
    present = {name: said for name, said in MEASURES.items() if name in table.columns}
    for concept in table["concept"].drop_nulls().unique(maintain_order=True).to_list():
        part = table.filter(concept=concept)
        text = el("span", concept_name(concept))
        rows.append(el("tr", el("th", text, scope="rowgroup", colspan=2 + len(present)), class_="group"))
        for row in part.iter_rows(named=True):
            cells = [_measure(row, name) for name in present]
            rows.append(el("tr", el("th", condition_name(row["condition"]), scope="row"), 
                           el("td", decoding_name(row["decoding"]) if row["decoding"] else DASH), *cells))  # fmt: skip
    top = [el("th", "Condition", scope="col"), el("th", "Decoding", scope="col"),
           *(el("th", name, scope="col", class_="n") for name in present.values())]  # fmt: skip
    return scrolling("All measurements", [el("tr", *top)], rows)


def mixes_table(content: LanguageContent) -> Html:
    """A group of rows for each mix and way of decoding: its parts, their weights and rates; and all of them at once."""
    table = content.mixes.with_columns(cs.float().fill_nan(None))
    names, before = table["mix"].unique(maintain_order=True).to_list(), "unsteered" in table.columns
    order = {name: place for place, name in enumerate(content.decodings)}
    rows: list[Html] = []
    groups = list(table.group_by("mix", "decoding", maintain_order=True))
    for (mix, _), part in sorted(groups, key=lambda group: (names.index(group[0][0]), order.get(group[0][1], 0))):
        found, point = part.to_dicts(), content.chosen.get(str(mix), {})
        for place, row in enumerate(found):
            cells = [
                el("th", concept_name(row["part"]), scope="row"), el("td", f"{row['weight']:g}", class_="n"),
                *([el("td", percent(row["unsteered"]), class_="n")] if before else []), rate_cell(row),
            ]  # fmt: skip
            if place == 0:
                together = [percent(row["both"]), *([_interval(row, "both")] if row["both"] is not None else [])]
                whole = [(el("b", *together), "n"), (times(row["ratio"]), "n")]
                whole += [(_number(point.get(name)), "n") for name in ("layer", "strength")]
                whole.append((decoding_name(row["decoding"]) if row["decoding"] else DASH, ""))
                cells += [el("td", text, class_=kind or None, rowspan=len(found)) for text, kind in whole]
            rows.append(el("tr", *cells, class_="first" if place == 0 else None))
    top = [
        el("th", "Part", scope="col"), el("th", "Weight", scope="col", class_="n"),
        *([el("th", "Unsteered", scope="col", class_="n")] if before else []),
        el("th", "Texts that show it", scope="col", class_="n"),
        el("th", "All parts at once", scope="col", class_="n"),
        el("th", "Perplexity", el("small", "times unsteered"), scope="col", class_="n"),
        el("th", "Layer", scope="col", class_="n"), el("th", "Strength", scope="col", class_="n"),
        el("th", "Decoding", scope="col"),
    ]  # fmt: skip
    return el("div", scrolling("Mixes", [el("tr", *top)], rows), class_="mixes")


def removal_table(content: LanguageContent, asked: str) -> Html:
    """Concepts down: texts that show it when asked in words, and still when its direction is removed.

    Of the first way of decoding; `asked`: the condition that removal is compared with.
    """
    decoding = content.decodings[0]
    rows: list[Html] = []
    for concept in content.concepts:
        found = content.scores(concept, decoding)
        if (removed := found.get(REMOVED)) is not None:
            ratio = [times(removed["ratio"]), *([_interval(removed, "ratio")] if removed["ratio"] is not None else [])]
            rows.append(
                el("tr", el("th", concept_name(concept), scope="row"), rate_cell(found.get(asked)),
                   rate_cell(removed, "n strong"), el("td", *ratio, class_="n"))
            )  # fmt: skip
    top = [
        el("th", "Concept", scope="col"), _head(asked), _head(REMOVED, "And removed"),
        el("th", "Perplexity", el("small", "times that when asked"), scope="col", class_="n"),
    ]  # fmt: skip
    return scrolling("Removal", [el("tr", *top)], rows, wide=False)


def rate_cell(row: Mapping[str, Any] | None, kind: str = "n") -> Html:
    """A rate with its interval below; a dash where there is none."""
    if row is None or row["rate"] is None:
        return el("td", DASH, class_=kind)
    return el("td", percent(row["rate"]), _interval(row, "rate"), class_=kind)


def _concept(
    content: LanguageContent, concept: str, decoding: str, columns: Sequence[str], found: Verdict | None
) -> Html:  # fmt: skip
    scores, point = content.scores(concept, decoding), content.chosen.get(concept, {})
    steered = scores.get(STEERED)
    ratio: list[str] = [times(steered["ratio"] if steered else None)]
    if steered is not None and steered["ratio"] is not None:
        ratio.append(_interval(steered, "ratio"))
    name = el("a", concept_name(concept), href=f"#{text_id(concept)}")
    return el(
        "tr", el("th", name, scope="row"),
        *(rate_cell(scores.get(name), "n strong" if name == STEERED else "n") for name in columns),
        el("td", *ratio, class_="n"),
        *(el("td", _number(point.get(key)), class_="n") for key in ("layer", "strength")),
        el("td", _number(safe_to(point)), class_="n"),
        el("td", verdict(found.met if found else None)),
    )  # fmt: skip


def _there(content: LanguageContent, condition: str, decoding: str) -> bool:
    return any(condition in content.scores(concept, decoding) for concept in content.concepts)


def _head(condition: str, name: str = "") -> Html:
    key = el("span", class_="key", style=f"background:var(--{colour(condition)})", aria_hidden="true")
    return el("th", key, name or CONDITION_NAMES[condition], scope="col", class_="n")


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:g}"


def _interval(row: Mapping[str, Any], measure: str) -> Html:
    low, high = row.get(f"{measure}_low"), row.get(f"{measure}_high")
    if low is None or high is None:
        return Html("")
    if measure in ("rate", "both"):
        return el("small", span(low, high))
    first, last = decimal(low, 2), decimal(high, 2)
    return el("small", last if first == last else f"{first} to {last}")


def _measure(row: Mapping[str, Any], name: str) -> Html:
    value = row[name]
    if name == "rate":
        return rate_cell(row)
    if name == "ratio":
        return el("td", times(value), _interval(row, name) if value is not None else "", class_="n")
    if name == "repeated":
        return el("td", percent(value), class_="n")
    if name == "texts":
        return el("td", DASH if value is None else f"{value:,}".replace(",", THIN), class_="n")
    return el("td", decimal(value, 2), class_="n")


# The figures of rates: conditions beside each other for every concept, and what removal leaves.

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
