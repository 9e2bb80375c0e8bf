"""The tables of the page of attention edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
import polars.selectors as cs

from steerwright.report.attention.content import COLOURS, CONDITION_NAMES, CONDITIONS, AttentionContent, EditTables
from steerwright.report.attention.grid import Cell, Column, Grid
from steerwright.report.attention.words import KIND_NAMES, around, measure_key, number
from steerwright.report.html.page import Html, el, picture_cell, picture_table, scrolling, small_picture, verdict
from steerwright.report.html.theme import DASH, THIN, decimal, percent
from steerwright.scoring.metrics import METRICS

if TYPE_CHECKING:
    from steerwright.prompts.label_set import LabelSet

# Metric -> its name, what it means, and whether it is a share; of `scoring.metrics` those that have no words here.
_FIRST: dict[str, tuple[str, str, bool]] = {
    "concept_by_labels": ("Shows it, by labels", "share of pictures, by the classifier", True),
    "concept_by_clip": ("Shows it, by CLIP", "share of pictures, by zero-shot CLIP", True),
    "others_kept": ("Other labels kept", "share equal to the unsteered picture's", True),
    "changed": ("Anything changed", "pictures with any label unlike the unsteered one's", True),
    "lpips": ("Perceptual distance", "perceptual distance to the unsteered picture", False),
    "prompt_similarity": ("Prompt similarity", "CLIP cosine of picture and prompt", False),
    "fid": ("FID", "distance of the whole set to the unsteered one", False),
}


def shown_metrics() -> dict[str, tuple[str, str, bool]]:
    """The metrics that the table begins with."""
    others = {name: (one.title, one.meaning, False) for name, one in METRICS.items() if name not in _FIRST}
    return {**_FIRST, **others}


AGAINST_UNSTEERED = ("others_kept", "changed", "lpips", "fid")


def further_metrics(labels: LabelSet) -> dict[str, tuple[str, str, bool]]:
    """The metrics that stand in a table of their own."""
    right = ((f"{label}_right", f"{label.capitalize()} right") for label in labels.values)
    return {
        "concept_probability": ("Probability of it", "mean, by zero-shot CLIP", True),
        **{name: (title, "as the prompt names it", True) for name, title in right},
    }


def overview(content: AttentionContent, edits: Mapping[str, EditTables]) -> Html:
    """Every edit in one row: what it does where it should act, and what it changes where it should not."""
    rows = []
    for name, scores in edits.items():
        kind = scores.measured
        away = scores.away
        cells = [
            *(_estimate(scores.at(condition, kind, scores.rate), True) for condition in
              ("unsteered", "steered", "random")),
            _estimate(scores.at("steered", kind, "others_kept"), True),
            _estimate(scores.at("steered", away, "changed") if away else None, True),
            _estimate(scores.at("steered", away, "lpips") if away else None, False),
        ]  # fmt: skip
        what = el("small", f"strength {float(scores.point['strength']):g}")
        rows.append(el("tr", el("th", el("a", scores.title, href=f"#{slug(name)}"), what, scope="row"), *cells))
    groups = el(
        "tr", el("th", "Edit", scope="col", rowspan=2), el("th", "Pictures that show it", scope="colgroup", colspan=3),
        el("th", "Other labels kept", scope="col", rowspan=2, class_="n"),
        el("th", "On other prompts", scope="colgroup", colspan=2),
    )  # fmt: skip
    names = ["Unsteered", "Steered", "Random", "Any label changed", content.perceptual]
    below = el("tr", *(el("th", name, scope="col", class_="n") for name in names))
    return scrolling("All edits", [groups, below], rows)


def picture_grid(grid: Grid, scores: EditTables) -> Html:
    """Prompts down, strengths and controls across, and under each picture what the judge sees in it."""
    steered = [column for column in grid.columns if column.condition == "steered"]
    controls = [column for column in grid.columns if column.condition not in ("unsteered", "steered")]
    top = [el("th", CONDITION_NAMES[c.condition], scope="col", rowspan=2) for c in grid.columns[:1] if c not in steered]
    if steered:
        top.append(el("th", "Steered, at strength", scope="colgroup", colspan=len(steered)))
    top += [
        el("th", CONDITION_NAMES[c.condition], scope="col", rowspan=2, class_=_control_class(c, controls))
        for c in controls
    ]
    below = [
        el("th", column.name, el("small", "chosen") if column.chosen else "", scope="col",
           class_="operating" if column.chosen else None)
        for column in steered
    ]  # fmt: skip
    rows = (
        (el("span", row.prompt, el("small", f"{KIND_NAMES[row.kind].lower()}, seed {row.seed}")),
         [_cell(column, row.cells.get(column), row.prompt, controls) for column in grid.columns])
        for row in grid.rows
    )  # fmt: skip
    return picture_table(scores.title, [el("tr", *top), el("tr", *below)], rows, len(grid.columns))


def measurements(content: AttentionContent, scores: EditTables, *, main: bool) -> Html:
    """Conditions across, metrics down, by kind of prompt; empty if there is nothing to show.

    `main` are the measures that matter where the edit should act and where it should not, and FID; else all the rest.
    """
    cells = {(row["kind"], row["metric"], row["condition"]): row for row in measured(scores).to_dicts()}
    conditions = [name for name in CONDITIONS if any(key[2] == name for key in cells)]
    first = (scores.measured, *scores.elsewhere)
    first_shown = shown_metrics()
    rows: list[Html] = []
    for kind in (*first, *(kind for kind in scores.kinds if kind not in first)):
        body, sizes = [], []
        for metric, (name, meaning, share) in (first_shown | further_metrics(scores.labels)).items():
            values = [cells.get((kind, metric, condition)) for condition in conditions]
            is_main = metric == "fid" or (metric in first_shown and kind in first)
            if any(values) and main == is_main:
                shown = {"lpips": content.perceptual, "fid": content.fid_name}.get(metric, name)
                head = el("th", shown, el("small", meaning), scope="row")
                body.append(el("tr", head, *(_compared(value, metric, share) for value in values)))
                sizes += [(value["prompts"], value["images"]) for value in values if value]
        if body:
            prompts, images = max(sizes)
            size = f"{number(prompts, 'prompt')}, {number(images, 'picture')} a condition"
            text = el("span", KIND_NAMES[kind], el("small", size))
            rows.append(el("tr", el("th", text, scope="rowgroup", colspan=1 + len(conditions)), class_="group"))
            rows += body
    if not rows:
        return Html("")
    top = [el("th", Html("&nbsp;"), scope="col"), *map(_condition_head, conditions)]
    what = "Measurements and controls" if main else "Further measurements"
    return scrolling(f"{what}: {scores.title}", [el("tr", *top)], rows)


def measured(scores: EditTables) -> pl.DataFrame:
    """The numbers of `measurements`, both tables together."""
    metrics = [*shown_metrics(), *further_metrics(scores.labels)]
    shown = pl.col("metric").is_in(metrics) & pl.col("kind").is_in(list(scores.kinds))
    return scores.rows.filter(shown, pl.col("operating"), pl.col("estimate").is_not_null())


def comparisons(content: AttentionContent, edits: Mapping[str, EditTables]) -> Html:
    """Every question of every edit: the answer, what was hoped for, whether it was reached, and the controls beside."""
    table = content.comparisons.with_columns(cs.float().fill_nan(None))
    others = [name for name in CONDITIONS if name != "steered" and name in set(table["condition"].to_list())]
    rows: list[Html] = []
    for name, scores in edits.items():
        asked: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
        for row in table.filter(edit=name).to_dicts():
            asked.setdefault((row["question"], row["measure"], row["kind"]), {})[row["condition"]] = row
        if asked:
            heading = el("th", el("span", scores.title), scope="rowgroup", colspan=4 + len(others))
            rows.append(el("tr", heading, class_="group"))
        for (question, measure, kind), answers in asked.items():
            share, steered = is_share(measure), answers.get("steered", {})
            what = f"{_measure(content, measure)}; {KIND_NAMES.get(kind, kind).lower()}"
            rows.append(el(
                "tr", el("th", question, el("small", what), scope="row"), _estimate(steered or None, share),
                el("td", str(steered.get("bar") or DASH).replace(" %", f"{THIN}%")),
                el("td", verdict(steered.get("met"))),
                *(_compared(answers.get(condition), measure_key(measure), share) for condition in others),
            ))  # fmt: skip
    top = [
        el("th", "Question", scope="col"), _condition_head("steered"), el("th", "Hoped for", scope="col"),
        el("th", "Reached", scope="col"), *map(_condition_head, others),
    ]  # fmt: skip
    return scrolling("Questions and answers", [el("tr", *top)], rows)


def is_share(measure: str) -> bool:
    """Whether a measure is written in per cent: all are but distances and similarities."""
    numbers = ("lpips", "similarity", "distance")
    return measure.split("_")[0] != "fid" and not any(word in measure.lower() for word in numbers)


def slug(name: str) -> str:
    """`name` as part of a file's name or a link: letters, digits and hyphens."""
    return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in name.lower()).split()) or "unnamed"


def _cell(column: Column, cell: Cell | None, prompt: str, controls: Sequence[Column]) -> Html:
    control = _control_class(column, controls)
    if cell is None:
        return el("td", DASH, class_=control)
    name = CONDITION_NAMES[column.condition] + (f" at {column.name}" if column.condition == "steered" else "")
    seen = f", judged {cell.seen}" if cell.seen else ""
    return picture_cell(
        small_picture(cell.path, f"{name}: {prompt}{seen}"), cell.seen, cell.changed,
        shows="is-winter" if cell.shows else None, class_="operating" if column.chosen else control,
    )  # fmt: skip


def _control_class(column: Column, controls: Sequence[Column]) -> str | None:
    if column not in controls:
        return None
    return "control first" if column == controls[0] else "control"


def _compared(row: Mapping[str, Any] | None, metric: str, share: bool) -> Html:
    """An estimate; a dash where the unsteered pictures are compared with themselves."""
    itself = row is not None and row["condition"] == "unsteered" and metric in AGAINST_UNSTEERED
    return _estimate(None if itself else row, share)


def _measure(content: AttentionContent, measure: str) -> str:
    named = {"lpips": content.perceptual, "fid": content.fid_name}
    key, known = measure_key(measure), shown_metrics() | further_metrics(content.labels)
    if key.endswith("_right") and key in known:
        return f"{known[key][0]}, as a share of the unsteered share"
    return named.get(key) or (known[key][0] if key in known else measure.replace("_", " "))


def _estimate(row: Mapping[str, Any] | None, share: bool) -> Html:
    if row is None or row["estimate"] is None:
        return el("td", DASH, class_="n")
    value = percent(row["estimate"]) if share else decimal(row["estimate"])
    if row["low"] is None or row["high"] is None:
        return el("td", value, class_="n")
    return el("td", value, el("small", around(row["low"], row["high"], share)), class_="n")


def _condition_head(condition: str) -> Html:
    key = el("span", class_="key", style=f"background:var(--{COLOURS[condition]})", aria_hidden="true")
    return el("th", key, CONDITION_NAMES[condition], scope="col", class_="n")
