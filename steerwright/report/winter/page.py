"""The report: one self-contained page, and every figure beside it as PNG with the numbers behind it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from steerwright.report.html import figures
from steerwright.report.html.page import (
    SMALL,
    Html,
    document,
    download,
    el,
    figure,
    join,
    picture,
    section,
    sources,
    verdict,
)
from steerwright.report.html.sheets import TRIPTYCH, Triptych, contact_sheet
from steerwright.report.html.theme import CONDITION_NAMES, THIN
from steerwright.report.html.words import Headline, counts, headlines
from steerwright.report.winter import tables
from steerwright.report.winter.content import ReportContent, triptychs
from steerwright.scoring.target import Target
from steerwright.scoring.winter import rate_file


def write_report(folder: Path, content: ReportContent) -> Path:
    """Write report.html and, beside it, each figure as PNG and its numbers as CSV; returns the page's path.

    `folder` is made if it is not there. The page asks for nothing outside itself: it can be moved, mailed and opened
    from a file. The same content gives the same bytes. Files: report.html, contact-sheet.png, winter-rate.png,
    search.png, similarity.png, activation-difference.png, each with a .csv of its name; intervals.csv, comparisons.csv,
    per-prompt.csv, doses.csv, provenance.json. Raises ValueError if there is no picture to show.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sheet = triptychs(content)
    contact_sheet(sheet).save(folder / "contact-sheet.png", optimize=False)
    target = content.scores.target
    drawings = {
        rate_file(target): figures.winter_rates(content.scores.aggregate, target, content.conditions),
        "search": figures.search_heatmap(content.search, content.search_objective),
        "activation-difference": figures.activation_difference(content.activations),
        "similarity": figures.similarity_scatter(content.scores.per_prompt, target, content.conditions),
    }
    for name, drawing in drawings.items():
        figures.save_png(drawing, folder / f"{name}.png")
    data = _data(content, sheet)
    for name, table in data.items():
        figures.save_table(folder, name, table)
    figures.save_json(folder, provenance=asdict(content.provenance))
    svgs = {name: Html(figures.to_svg(drawing, name)) for name, drawing in drawings.items()}
    path = folder / "report.html"
    path.write_text(_page(content, sheet, svgs, data), encoding="utf-8")
    return path


def _data(content: ReportContent, sheet: Sequence[Triptych]) -> dict[str, pl.DataFrame]:
    """The numbers behind each figure and table, by the name of its file."""
    scores = content.scores
    key, seen = scores.target.key, "_".join(scores.target.changing)
    shown = [
        {"prompt_id": row.prompt_id, "prompt": row.prompt, "resistance": row.resistance, "seed": row.seed,
         **{f"{seen}_{condition}": row.seen[condition] for condition in TRIPTYCH}}
        for row in sheet
    ]  # fmt: skip
    similarity = ["prompt_id", "condition", "prompt_similarity", f"{key}_similarity"]
    return {
        "contact-sheet": pl.DataFrame(shown),
        rate_file(scores.target): scores.aggregate.filter(metric=f"{key}_rate"),
        "search": content.search,
        "activation-difference": content.activations,
        "similarity": scores.per_prompt.select(similarity),
        "intervals": scores.aggregate,
        "comparisons": scores.comparisons,
        "per-prompt": scores.per_prompt,
        "doses": content.doses,
    }


def _page(
    content: ReportContent, sheet: Sequence[Triptych], svgs: dict[str, Html], data: dict[str, pl.DataFrame]
) -> str:
    target, names = content.scores.target, content.conditions

    def link(name: str) -> Html:
        return download(name, data[name])

    sections = {
        "contact-sheet": ("Contact sheet", _contact_sheet(sheet, target, link("contact-sheet"))),
        "answers": ("Questions and answers", join([
            el("p", "Each estimate with its interval, beside what had been hoped for before the run.", class_="muted"),
            tables.comparisons(content.scores.comparisons, target, names),
            el("p", link("comparisons"), class_="note data"),
        ])),
        "measurements": ("Measurements", join([
            el("p", "All pictures of a condition together, with 95 % intervals over prompts.", class_="muted"),
            tables.measurements(content.scores.aggregate, target, content.perceptual, names),
            el("p", link("intervals"), class_="note data"),
            el("details", el("summary", "Every prompt, condition by condition"),
               tables.per_prompt(content.scores.per_prompt, target, names),
               el("p", link("per-prompt"), class_="note data")),
        ])),
        "doses": ("Adaptive strengths", join([
            el("p", "How hard each prompt was pushed: its dose is a multiple of the fixed strength.", class_="muted"),
            tables.doses(content), el("p", link("doses"), class_="note data"),
        ])),
        "provenance": ("Provenance", sources(content.provenance)),
    }  # fmt: skip
    plots = _plots(content, svgs, link)
    body = [
        _header(
            content, {"contact-sheet": "Contact sheet", "figures": "Figures"} | {k: v[0] for k, v in sections.items()}
        ),
        el("ul", *map(_headline, headlines(content.scores)), class_="headlines"),
        section("contact-sheet", *sections.pop("contact-sheet")),
        el("div", *plots, class_="figures below", id="figures"),
        *(section(name, *parts) for name, parts in sections.items()),
        section("notes", "How to read this", _notes(content)),
    ]
    return document(content.title, body)


def _header(content: ReportContent, targets: dict[str, str]) -> Html:
    links = [el("a", name, href=f"#{target}") for target, name in targets.items()]
    subtitle = f"{content.model}. {counts(content.scores)[:1].upper()}{counts(content.scores)[1:]}."
    return el(
        "header", el("h1", content.title), el("p", subtitle, class_="muted"), el("nav", *links, aria_label="Page")
    )


def _headline(headline: Headline) -> Html:
    bar = [
        el(
            "span",
            f"Hoped for: {headline.bar.replace(' %', f'{THIN}%')}. Reached: ",
            verdict(headline.met),
            class_="bar",
        )
    ]
    return el("li", el("span", headline.number, class_="number"), headline.sentence, *(bar if headline.bar else []))


def _plots(content: ReportContent, svgs: dict[str, Html], link: Callable[[str], Html]) -> list[Html]:
    chosen = content.search.filter(pl.col("chosen")).to_dicts()
    pick = f" Chosen: layers {chosen[0]['layers']} at {_strength(chosen[0])} ({chosen[0]['kind']})." if chosen else ""
    target = content.scores.target
    title = target.name[:1].upper() + target.name[1:]
    words = {
        rate_file(target): (
            f"{title} by condition",
            f"Share of {target.pictures} that show {target.name}, with 95 % intervals over prompts.",
        ),
        "activation-difference": (
            "Where the concept lives",
            f"Distance between the mean activations of {target.name} and other prompts, layer by layer.",
        ),
        "search": (
            "The search",
            "Best score of each pair of layers and strength, on the tuning prompts, which are not among those scored "
            f"here.{_others(content.search)}{pick}",
        ),
        "similarity": (
            f"{title} against the prompt",
            f"Each mark is a prompt's mean over seeds. Up is more {target.name}; right is closer to what was asked.",
        ),
    }
    plots = []
    for name, (title, text) in words.items():
        parts = [el("h2", title), figure(svgs[name], f"{title}. {text}", text, link(name))]
        if name == "search":
            parts.append(el("details", el("summary", "All trials"), tables.trials(content.search)))
        plots.append(el("section", *parts))
    return plots


def _strength(trial: dict[str, Any]) -> str:
    """One strength at all layers, or that of each."""
    return str(trial["strengths"]) if trial["strength"] is None else f"{trial['strength']:g}"


def _others(search: pl.DataFrame) -> str:
    if search.filter((pl.col("kind") != "grid") | pl.col("strength").is_null()).is_empty():
        return ""
    return " Below, the trials with a strength of its own at each layer, and those that refined the grid."


def _contact_sheet(sheet: Sequence[Triptych], target: Target, link: Html) -> Html:
    seen = [f"the {one.label}" if one.label else f"whether there is {name}" for name, one in target.concepts.items()]
    text = (
        "The same seed three times: the prompt alone, steered with one fixed strength, and with a strength of its own. "
        f"Under each picture, {' and '.join(seen)} that the judge sees in it."
    )
    cards = [_card(row) for row in sheet]
    return join([el("p", text, class_="muted"), el("ul", *cards, class_="sheet"), el("p", link, class_="note data")])


def _card(row: Triptych) -> Html:
    pictures = []
    for condition in TRIPTYCH:
        source, size = picture(row.paths[condition])
        shown = row.seen[condition]
        seen = f", judged {shown}" if shown else ""
        image = el(
            "img", src=source, width=size[0], height=size[1], class_="small" if max(size) <= SMALL else None,
            alt=f"{CONDITION_NAMES[condition]}: {row.prompt}{seen}",
        )  # fmt: skip
        mark = el("span", shown, class_="is-winter" if row.reached.get(condition) else None)
        pictures.append(el("figure", image, el("figcaption", CONDITION_NAMES[condition], " ", mark)))
    return el("li", el("h3", el("b", f"{row.prompt_id}"), row.prompt), el("div", *pictures, class_="three"))


def _notes(content: ReportContent) -> Html:
    target = content.scores.target
    words = target.added_words
    *most, last = target.kept_labels
    kept = f"{', '.join(most)} and {last}" if most else last
    at_once = {}
    if len(target.concepts) > 1:
        at_once["Several at once"] = (
            f"Steered is along one vector, the sum of those of {target.name}. A picture counts where it shows all of "
            "them; of probabilities, similarities and margins the least of them counts."
        )
    notes = {
        "Intervals": "95 % percentile bootstrap over prompts: all seeds of a prompt are drawn together, so an interval "
        "says how a number would move with other prompts of this kind. Where every prompt agrees it has no width, "
        "which is no certainty.",
        "Conditions": "Unsteered is the prompt alone. Fixed steers every prompt with one strength, adaptive with one "
        f"of its own. “{words[:1].upper()}{words[1:]}” is not steered; the words are added to the prompt. Random "
        "steers in a random direction with the norms of the fixed one. All use the same seeds.",
        **at_once,
        "Right and fidelity": "A label is right if the picture shows what the prompt names; prompts that do not name "
        f"it do not count. Fidelity is the share of {kept} that are as named, else as in the unsteered picture. Labels "
        "are read by a classifier, which errs too.",
        **content.explanations,
    }
    return join([join([el("h3", title), el("p", text)]) for title, text in notes.items()])
