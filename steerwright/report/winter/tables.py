"""The tables of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from steerwright.report.html.page import Html, el, join, scrolling, verdict
from steerwright.report.html.theme import CONDITION_NAMES, DASH, GROUP_NAMES, THIN, decimal, percent, span
from steerwright.scoring.metrics import METRICS
from steerwright.scoring.target import column

if TYPE_CHECKING:
    from steerwright.report.winter.content import ReportContent
    from steerwright.scoring.target import Target


def rates(target: Target) -> dict[str, tuple[str, str]]:
    """Metric -> what it is called, and in which words it is explained beside its name."""
    each = {f"{column(name)}_rate": (_title(name), _shown_by(name, target)) for name in target.concepts}
    at_once = {f"{target.key}_rate": (_title(target.name), "all at once")} if len(each) > 1 else {}
    right = {f"{label}_right": (f"{_title(label)} right", "as the prompt names it") for label in target.kept_labels}
    count = {4: "four", 3: "three", 2: "two", 1: "one"}[min(len(right), 4)]
    return {
        **at_once,
        **each,
        **right,
        "fidelity": ("Fidelity", f"share of these {count} as named, else as unsteered"),
        target.changed: (_changed(target), "against the unsteered picture"),
    }


def numbers(target: Target) -> dict[str, tuple[str, str]]:
    """The same for what is no share."""
    name, key = target.name, target.key
    other = f"nearest other {target.labels[0]}" if len(target.labels) == len(target.concepts) == 1 else "nearest other"
    return {
        f"{key}_similarity": (f"{_title(name)} similarity", f"CLIP cosine to {name} phrases"),
        f"{key}_margin": (f"{_title(name)} margin", f"{name} minus the {other}"),
        **{name: (metric.title, metric.meaning) for name, metric in METRICS.items()},
    }


def _title(name: str) -> str:
    return name[:1].upper() + name[1:]


def _changed(target: Target) -> str:
    if len(target.labels) == len(target.concepts):
        return f"{_title(target.changes)} changed"
    return f"Changed {target.changes}"


def _shown_by(name: str, target: Target) -> str:
    concept = target.concepts[name]
    return f"{concept.label} is {concept.value}" if concept.label else "by CLIP: nearer than pictures without it"


def measurements(
    aggregate: pl.DataFrame, target: Target, perceptual: str = "lpips",
    names: Mapping[str, str] = CONDITION_NAMES,
) -> Html:  # fmt: skip
    """Metrics down, conditions across, each with its interval; then the winter rate by group.

    `perceptual` is the name of the perceptual score, which says whose features it compares.
    """
    cells = {(row["metric"], row["condition"], row["group"]): row for row in aggregate.iter_rows(named=True)}
    conditions = [name for name in names if any(key[1] == name for key in cells)]
    rows: list[Html] = []
    shares = rates(target)
    for metric, (name, meaning) in (shares | numbers(target)).items():
        values = [cells.get((metric, condition, "all")) for condition in conditions]
        if any(values):
            head = el("th", perceptual if metric == "lpips" else name, el("small", meaning), scope="row")
            rows.append(el("tr", head, *(_estimate(value, metric in shares) for value in values)))
    heading = el("th", el("span", f"{_title(target.name)}, by group"), scope="rowgroup", colspan=1 + len(conditions))
    rows.append(el("tr", heading, class_="group"))
    for group, name in GROUP_NAMES.items():
        values = [cells.get((f"{target.key}_rate", condition, group)) for condition in conditions]
        if group != "all" and any(values):
            some = next(value for value in values if value)
            size = el("small", f"{some['prompts']} prompts, {some['images']} pictures")
            rows.append(el("tr", el("th", name, size, scope="row"), *(_estimate(value, True) for value in values)))
    top = [el("th", Html("&nbsp;"), scope="col"), *(_condition_head(one, names) for one in conditions)]
    return scrolling("Measurements by condition", [el("tr", *top)], rows)


def comparisons(table: pl.DataFrame, target: Target, names: Mapping[str, str] = CONDITION_NAMES) -> Html:
    """The questions, their answers, what was hoped for and whether it was reached; b without its controls."""
    ask = "Does" if len(target.concepts) == 1 else "Do"
    titles = {
        "a": f"{ask} {target.name} come? Share of {target.pictures} that show {target.name}",
        "b": "Does the rest stay? Share right, as a share of the unsteered share",
        "c": "Is adaptive better than fixed where prompts resist? Relative difference",
        "d": f"Is it the direction that does it? {_whose(target)}",
    }
    rows: list[Html] = []
    for question, title in titles.items():
        part = table.filter(question=question).to_dicts()
        if part:
            rows.append(el("tr", el("th", el("span", title), scope="rowgroup", colspan=4), class_="group"))
        for row in part:
            if question == "b" and row["condition"] not in ("fixed", "adaptive"):
                continue
            what = names[row["condition"]]
            if question in "bc":
                what += f": {row['measure']}"
            signed = question == "c"
            estimate, interval = percent(row["estimate"], signed), span(row["low"], row["high"], signed)
            rows.append(
                el(
                    "tr", el("th", what, scope="row"), el("td", estimate, el("small", interval), class_="n"),
                    el("td", row["bar"].replace(" %", f"{THIN}%") or DASH), el("td", verdict(row["met"])),
                )
            )  # fmt: skip
    head = el(
        "tr", el("th", Html("&nbsp;"), scope="col"), el("th", "Estimate", scope="col", class_="n"),
        el("th", "Hoped for", scope="col"),
        el("th", "Reached", scope="col"),
    )  # fmt: skip
    return scrolling("Questions and answers", [head], rows, wide=False)


def _whose(target: Target) -> str:
    if len(target.labels) == len(target.concepts):
        return f"Share of pictures whose {target.changes} changed"
    return f"Share of pictures that changed {target.changes}"


def doses(content: ReportContent) -> Html:
    """Each prompt's multiplier with a bar, and the reason for it."""
    texts = dict(content.prompts.select("prompt_id", "prompt").iter_rows())
    largest = max((abs(value) for value in content.doses["multiplier"].to_list()), default=0) or 1
    rows = []
    for row in content.doses.iter_rows(named=True):
        width = f"width:{4 * abs(row['multiplier']) / largest:.2f}rem"
        dose = join([el("span", class_="meter", style=width), f"{decimal(row['multiplier'], 2)}"])
        prompt = texts.get(row["prompt_id"], "")
        head = el("th", f"{row['prompt_id']}. {prompt}", scope="row")
        rows.append(el("tr", head, el("td", dose), el("td", row["reason"])))
    head = el("tr", *(el("th", name, scope="col") for name in ("Prompt", "Dose", "Why")))
    return el("div", scrolling("Adaptive strengths", [head], rows, wide=False), class_="doses")


def trials(search: pl.DataFrame) -> Html:
    """Every trial of the search, best first."""
    order = ["layers", "strength", "score", "kind", "chosen"]
    extra = [column for column in search.columns if column not in order]
    rows = []
    for row in search.sort("score", descending=True, nulls_last=True).iter_rows(named=True):
        cells = [el("td", _value(row[column]), class_="n") for column in ("strength", "score", *extra)]
        kind = el("td", row["kind"] + (", chosen" if row["chosen"] else ""))
        head = el("th", row["layers"], scope="row")
        rows.append(el("tr", head, *cells, kind, class_="chosen" if row["chosen"] else None))
    names = ["Strength", "Score", *(column.replace("_", " ").capitalize() for column in extra)]
    top = [el("th", "Layers", scope="col"), *(el("th", name, scope="col", class_="n") for name in names)]
    return scrolling("Trials of the search", [el("tr", *top, el("th", "Kind", scope="col"))], rows)


def per_prompt(table: pl.DataFrame, target: Target, names: Mapping[str, str] = CONDITION_NAMES) -> Html:
    """One row for each prompt and condition."""
    title = _title(target.name)
    columns = {f"{target.key}_rate": title, "fidelity": "Fidelity", f"{target.key}_similarity": f"{title} similarity",
               **{name: metric.title for name, metric in METRICS.items()}}  # fmt: skip
    shares = rates(target)
    rows: list[Html] = []
    seen: int | None = None
    for row in table.iter_rows(named=True):
        if row["prompt_id"] != seen:
            seen = row["prompt_id"]
            title = f"{seen}. {row['prompt']}"
            rows.append(
                el("tr", el("th", el("span", title), scope="rowgroup", colspan=1 + len(columns)), class_="group")
            )
        cells = [el("td", percent(row[name]) if name in shares else decimal(row[name]), class_="n") for name in columns]
        rows.append(el("tr", el("th", names[row["condition"]], scope="row"), *cells))
    top = [el("th", "Condition", scope="col"), *(el("th", name, scope="col", class_="n") for name in columns.values())]
    return scrolling("Every prompt", [el("tr", *top)], rows)


def _estimate(row: dict[str, float] | None, rate: bool) -> Html:
    if row is None:
        return el("td", DASH, class_="n")
    if rate:
        return el("td", percent(row["estimate"]), el("small", span(row["low"], row["high"])), class_="n")
    interval = f"{decimal(row['low'])} to {decimal(row['high'])}"
    return el("td", decimal(row["estimate"]), el("small", interval), class_="n")


def _condition_head(condition: str, names: Mapping[str, str]) -> Html:
    key = el("span", class_="key", style=f"background:var(--{condition})", aria_hidden="true")
    return el("th", key, names[condition], scope="col", class_="n")


def _value(value: object) -> str:
    if isinstance(value, float):
        return decimal(value)
    return DASH if value is None else str(value)
