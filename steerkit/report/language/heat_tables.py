"""The sweep of one concept as tables that one can read and copy: layers down, strengths across, cells coloured."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
import polars.selectors as cs

from steerkit.report.html import Html, el
from steerkit.report.language.heatmaps import AMBER, PALE, RATES, Scale, ink, ratios, short
from steerkit.report.language.words import times
from steerkit.report.theme import DASH, decimal, percent, span

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


def _table(label: str, rows: pl.DataFrame, value: str, scale: Scale, said: Callable[[float], str]) -> Html:
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


def _cell(row: Mapping[str, Any] | None, value: str, scale: Scale, said: Callable[[float], str]) -> Html:
    if row is None or row[value] is None:
        return el("td", DASH)
    marks = [f"c{_COLOURS.index(scale.colour(row[value]))}"]
    marks += ["unsafe"] if row["safe"] is False else []
    marks += ["best"] if row["chosen"] else []
    return el("td", said(row[value]), class_=" ".join(marks), title=_told(row))


def _told(row: Mapping[str, Any]) -> str:
    """Everything that was measured at a point, for whoever rests on its cell."""
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
