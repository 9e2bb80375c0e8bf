"""The tables of the page of latents."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import polars.selectors as cs

from steerwright.report.html.page import Html, el, scrolling, verdict
from steerwright.report.html.theme import DASH, THIN, decimal
from steerwright.report.latents.content import LatentsContent, colour, concept_name, mean_name, method_name
from steerwright.report.latents.words import (
    further_metrics,
    main_metrics,
    metric_name,
    number,
    said,
    shown_interval,
    shown_value,
)
from steerwright.scoring.unlearning import STEERED

# Those that are one number for a method, in no row of a single target.
_OF_METHODS = ("fid", "overhead")


def _of_each() -> list[str]:
    return [metric for metric in main_metrics() if metric not in _OF_METHODS]


def method_table(content: LatentsContent, further: bool = False) -> Html:
    """Metrics down, methods across, for every mean over targets; `further` are the metrics that are left."""
    rows: list[Html] = []
    methods = content.methods
    for target in content.means or content.targets[:1]:
        rates = content.rates(target)
        axes = sorted({metric for _, metric in rates if _per_axis(metric)})
        body = []
        for metric in [*further_metrics(), *axes] if further else main_metrics():
            cells = [rates.get((method, metric)) for method in methods]
            if any(cells):
                name, meaning, share = metric_name(content, metric)
                head = el("th", name, el("small", meaning) if meaning else "", scope="row")
                body.append(el("tr", head, *(estimate(cell, metric, share) for cell in cells)))
        if body:
            sizes = [row for (_, metric), row in rates.items() if metric in ("artifact_rate", "cra")]
            size = max(sizes, key=lambda row: row["images"], default=None)
            what = f"{number(size['prompts'], 'prompt')}, {number(size['images'], 'picture')} a method" if size else ""
            text = el(
                "span", mean_name(target) if target.startswith("mean") else concept_name(target), el("small", what)
            )
            rows += [el("tr", el("th", text, scope="rowgroup", colspan=1 + len(methods)), class_="group"), *body]
    if not rows:
        return Html("")
    top = [el("th", Html("&nbsp;"), scope="col"), *(method_head(method) for method in methods)]
    return scrolling("Rates by method" if not further else "Further measurements", [el("tr", *top)], rows)


def target_table(content: LatentsContent, method: str) -> Html:
    """Every target in one row, its rates under `method`; then the means."""
    metrics = [metric for metric in _of_each() if any((method, metric) in content.rates(t) for t in content.targets)]
    rows = []
    for target in [*content.targets, *content.means]:
        rates = content.rates(target)
        cells = [estimate(rates.get((method, metric)), metric, metric_name(content, metric)[2]) for metric in metrics]
        mean = target.startswith("mean")
        name = f"Mean: {mean_name(target).lower()}" if mean else concept_name(target).capitalize()
        rows.append(el("tr", el("th", name, scope="row"), *cells, class_="chosen" if mean else None))
    names = [metric_name(content, metric)[0] for metric in metrics]
    top = [el("th", "Erased", scope="col"), *(el("th", name, scope="col", class_="n") for name in names)]
    return scrolling(f"Every target: {method_name(method)}", [el("tr", *top)], rows)


def sequential(content: LatentsContent) -> Html:
    """Lists of targets erased together, the shortest first."""
    table = content.sequential.filter(pl.col("operating"), pl.col("method") == STEERED).with_columns(
        cs.float().fill_nan(None)
    )
    rates: dict[str, dict[str, dict[str, Any]]] = {}
    for row in table.iter_rows(named=True):
        if ":" in row["target"] and row["estimate"] is not None:
            rates.setdefault(row["target"], {})[row["metric"]] = row
    metrics = [metric for metric in _of_each() if any(metric in found for found in rates.values())]
    rows = []
    for target in sorted(rates, key=lambda name: (name.count(" + "), list(rates).index(name))):
        cells = [estimate(rates[target].get(metric), metric, metric_name(content, metric)[2]) for metric in metrics]
        count = el("small", number(1 + target.count(" + "), "concept"))
        rows.append(el("tr", el("th", concept_name(target).replace(" + ", ", "), count, scope="row"), *cells))
    names = [metric_name(content, metric)[0] for metric in metrics]
    top = [el("th", "Erased together", scope="col"), *(el("th", name, scope="col", class_="n") for name in names)]
    return scrolling("Erased together", [el("tr", *top)], rows)


def comparisons(content: LatentsContent) -> Html:
    """Every question: the answer, what was hoped for, whether it came, and the other methods beside."""
    table = content.comparisons.with_columns(cs.float().fill_nan(None))
    others = [name for name in content.methods if name != STEERED and name in set(table["method"].to_list())]
    rows: list[Html] = []
    for target in table["target"].unique(maintain_order=True).to_list():
        part = table.filter(target=target)
        text = el("span", mean_name(target) if target.startswith("mean") else concept_name(target))
        rows.append(el("tr", el("th", text, scope="rowgroup", colspan=4 + len(others)), class_="group"))
        for question, measure in part.select("question", "measure").unique(maintain_order=True).iter_rows():
            found = {row["method"]: row for row in part.filter(question=question, measure=measure).to_dicts()}
            steered = found.get(STEERED, {})
            name, _, share = metric_name(content, measure)
            rows.append(el(
                "tr", el("th", question, el("small", name), scope="row"), estimate(steered or None, measure, share),
                el("td", str(steered.get("bar") or DASH).replace(" %", f"{THIN}%")),
                el("td", verdict(steered.get("met"))),
                *(estimate(found.get(method), measure, share) for method in others),
            ))  # fmt: skip
    top = [
        el("th", "Question", scope="col"), method_head(STEERED), el("th", "Hoped for", scope="col"),
        el("th", "Reached", scope="col"), *map(method_head, others),
    ]  # fmt: skip
    return scrolling("Questions and answers", [el("tr", *top)], rows)


def saes(content: LatentsContent) -> Html:
    """Autoencoders across one row each: what they are, and how good on held-out prompts."""
    told = list(dict.fromkeys(key for facts in content.saes.values() for key in facts))
    numbers = {"fvu": "FVU", "l0": "L0", "dead_share": "Dead latents"}
    whole = content.quality.filter(pl.col("step").is_null(), pl.col("measure").is_in(list(numbers)))
    found = {(row["sae"], row["measure"]): row["value"] for row in whole.iter_rows(named=True)}
    names = list(dict.fromkeys([*content.saes, *content.quality["sae"].to_list()]))
    rows = []
    for name in names:
        facts = [el("td", content.saes.get(name, {}).get(key, DASH)) for key in told]
        values = [el("td", _quality(measure, found.get((name, measure))), class_="n") for measure in numbers]
        rows.append(el("tr", el("th", name, scope="row"), *values, *facts))
    top = [
        el("th", "Autoencoder", scope="col"), *(el("th", name, scope="col", class_="n") for name in numbers.values()),
        *(el("th", key, scope="col") for key in told),
    ]  # fmt: skip
    return scrolling("Autoencoders", [el("tr", *top)], rows)


def operating_points(content: LatentsContent) -> Html:
    """What was chosen for each target and method."""
    points = [(target, method, point) for target, by in content.chosen.items() for method, point in by.items()]
    keys = list(dict.fromkeys(key for *_, point in points for key in point))
    numeric = {key for key in keys if all(_number(point.get(key)) or point.get(key) is None for *_, point in points)}
    rows: list[Html] = []
    for target in content.chosen:
        text = el("span", concept_name(target).capitalize())
        rows.append(el("tr", el("th", text, scope="rowgroup", colspan=1 + len(keys)), class_="group"))
        for method, point in content.chosen[target].items():
            cells = [el("td", said(point[key]) if point.get(key) is not None else DASH,
                        class_="n" if key in numeric else None) for key in keys]  # fmt: skip
            rows.append(el("tr", el("th", method_name(method), scope="row"), *cells))
    heads = [el("th", key.replace("_", " ").capitalize(), scope="col", class_="n" if key in numeric else None)
             for key in keys]  # fmt: skip
    return scrolling("Operating points", [el("tr", el("th", "Erased", scope="col"), *heads)], rows)


def trials(table: pl.DataFrame) -> Html:
    """Everything that was tried on tuning prompts, target by target."""
    columns = [column for column in table.columns if column != "target"]
    rows: list[Html] = []
    for target in table["target"].unique(maintain_order=True).to_list():
        text = el("span", concept_name(target).capitalize())
        rows.append(el("tr", el("th", text, scope="rowgroup", colspan=len(columns)), class_="group"))
        for row in table.filter(target=target).iter_rows(named=True):
            cells = [el("td", _value(row[name]), class_="n" if _number(row[name]) else None) for name in columns]
            rows.append(el("tr", *cells, class_="chosen" if row.get("chosen") is True else None))
    heads = [el("th", name.replace("_", " ").capitalize(), scope="col",
                class_="n" if table.schema[name].is_numeric() else None) for name in columns]  # fmt: skip
    return scrolling("Trials", [el("tr", *heads)], rows)


def estimate(row: Mapping[str, Any] | None, metric: str, share: bool) -> Html:
    """A number with its interval below; a dash where there is none."""
    if row is None or row["estimate"] is None:
        return el("td", DASH, class_="n")
    interval = shown_interval(row, share)
    return el("td", shown_value(row["estimate"], metric, share), el("small", interval) if interval else "", class_="n")


def method_head(method: str) -> Html:
    """A method as the head of a column, with its colour."""
    key = el("span", class_="key", style=f"background:var(--{colour(method)})", aria_hidden="true")
    return el("th", key, method_name(method), scope="col", class_="n")


def _per_axis(metric: str) -> bool:
    known = ("cra_relative", "cra_unsteered")
    return metric.startswith("cra_") and metric not in known and not metric.endswith("_unsteered")


def _quality(measure: str, value: float | None) -> str:
    if value is None:
        return DASH
    if measure == "l0":
        return decimal(value, 1)
    return f"{100 * value:.1f}{THIN}%" if measure == "dead_share" else decimal(value)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value(value: object) -> str:
    if isinstance(value, float):
        return DASH if value != value else f"{value:.4g}"
    if isinstance(value, str) and value.startswith("{"):
        return said(json.loads(value))
    return DASH if value is None else said(value)


def listed(items: Sequence[tuple[str, str]]) -> Html:
    """Names and sentences as a list."""
    return el("dl", *(part for name, text in items for part in (el("dt", name), el("dd", text))), class_="done")
