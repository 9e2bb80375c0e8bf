"""The page of latents: one self-contained file, and beside it every figure as PNG with its numbers."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import polars as pl

from steerwright.report.attention.tables import slug
from steerwright.report.html import figures as drawing
from steerwright.report.html.overlays import SCALE
from steerwright.report.html.page import (
    CARD_STYLE,
    Html,
    document,
    download,
    el,
    figure,
    join,
    section,
    sources,
    verdict,
)
from steerwright.report.html.theme import THIN
from steerwright.report.html.words import Headline
from steerwright.report.latents import cards, figures, tables
from steerwright.report.latents import figures as quality
from steerwright.report.latents.content import LatentsContent, concept_name, method_name
from steerwright.report.latents.grids import LatentGrid, grid_sheet, grid_table, grids
from steerwright.report.latents.words import counts, headlines
from steerwright.scoring.erasure_samples import UNSTEERED
from steerwright.scoring.unlearning import STEERED


def write_latents_report(folder: Path, content: LatentsContent) -> Path:
    """Write report.html and, beside it, each figure as PNG and its numbers as CSV; returns the page's path.

    `folder` is made if it is not there. The page asks for nothing outside itself: it can be moved, mailed and opened
    from a file. The same content gives the same bytes. Files: AXIS-targets and AXIS-methods (grids), rates, targets,
    sequential, training, loss-by-step, density, SAE-concepts (heatmaps), each .png and .csv; images.csv,
    unlearning.csv, sequential-rates.csv, comparisons.csv, trials.csv, quality.csv, cards.csv, chosen.json,
    provenance.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = grids(content)
    for grid in shown:
        grid_sheet(grid).save(folder / f"{grid.name}.png", optimize=False)
        drawing.save_table(folder, grid.name, grid.table())
    parts = {name: drawing.save_figure(folder, name, *found) for name, found in _drawings(content).items()}
    drawing.save_table(folder, "images", content.images)
    drawing.save_table(folder, "unlearning", content.unlearning)
    drawing.save_table(folder, "sequential-rates", content.sequential)
    drawing.save_table(folder, "comparisons", content.comparisons)
    drawing.save_table(folder, "trials", content.trials)
    drawing.save_table(folder, "quality", content.quality)
    drawing.save_table(folder, "cards", cards.cards_table(content.cards))
    drawing.save_json(folder, chosen=content.chosen, provenance=asdict(content.provenance))
    path = folder / "report.html"
    path.write_text(_page(content, shown, parts), encoding="utf-8")
    return path


def _drawings(content: LatentsContent) -> figures.Drawings:
    """Every figure with the numbers behind it, by the name of its files; those without data are left out."""
    found = {"rates": (figures.method_rates(content), figures.method_rates_table(content))}
    if figures.target_rates_table(content).height:
        found["targets"] = figures.target_rates(content), figures.target_rates_table(content)
    if figures.sequential_table(content).height:
        found["sequential"] = figures.sequential_rates(content), figures.sequential_table(content)
    if content.curves.height:
        found["training"] = quality.training_curves(content.curves), content.curves
    steps = content.quality.filter(pl.col("step").is_not_null(), measure="fvu")
    if steps.height:
        found["loss-by-step"] = quality.loss_by_step(content.quality), steps
    densities = content.quality.filter(measure="density")
    if densities.height:
        found["density"] = quality.density_histogram(content.quality), densities
    for sae in content.concept_latents["sae"].unique(maintain_order=True).to_list():
        part = content.concept_latents.filter(sae=sae)
        found[f"{slug(sae)}-concepts"] = figures.concept_heatmap(part), part
    return found


def _page(content: LatentsContent, shown: list[LatentGrid], parts: Mapping[str, drawing.DrawnFigure]) -> str:
    sections: dict[str, tuple[str, Callable[[], list[Html]]]] = {
        "done": ("What was done", lambda: [tables.listed(list(content.done.items()))]),
        "rates": ("Erased and kept", lambda: _rates(content, parts)),
        "pictures": ("Pictures", lambda: _pictures(shown)),
        "together": ("Several at once", lambda: _together(content, parts)),
        "autoencoders": ("Autoencoders", lambda: _autoencoders(content, parts)),
        "concepts": ("Concepts and latents", lambda: _concepts(content, parts)),
        "latents": ("Latents", lambda: _cards(content)),
        "points": ("Operating points", lambda: _points(content)),
        "answers": ("Questions and answers", lambda: [
            el("p", "Each estimate with its interval, beside what had been hoped for before the run.", class_="muted"),
            tables.comparisons(content), el("p", download("comparisons", content.comparisons), class_="note data"),
        ]),
        "provenance": ("Provenance", lambda: [sources(content.provenance)]),
        "notes": ("How to read this", lambda: [notes(content)]),
    }  # fmt: skip
    empty = {
        "done": not content.done, "pictures": not shown, "together": content.sequential.height == 0,
        "autoencoders": content.quality.height + content.curves.height == 0,
        "concepts": content.concept_latents.height == 0, "latents": not content.cards, "points": not content.chosen,
        "answers": content.comparisons.height == 0,
    }  # fmt: skip
    kept = {name: one for name, one in sections.items() if not empty.get(name)}
    links = [el("a", title, href=f"#{name}") for name, (title, _) in kept.items()]
    header = el(
        "header", el("h1", content.title), el("p", f"{content.model}. {counts(content)}.", class_="muted"),
        el("nav", *links, aria_label="Page"),
    )  # fmt: skip
    body = [header, el("ul", *map(_headline, headlines(content)), class_="headlines")]
    body += [section(name, title, *write()) for name, (title, write) in kept.items()]
    return document(content.title, body, CARD_STYLE)


def _rates(content: LatentsContent, parts: Mapping[str, drawing.DrawnFigure]) -> list[Html]:
    intro = (
        "Each target was erased in turn, on the same test prompts and seeds. UA: of pictures asked for the target, the "
        "share that do not show it. IRA: where another value of its axis is asked for, the share that show it. CRA: "
        "the share right of the labels of other axes. Every label that a prompt names counts in one of the three."
    )
    words = {
        "rates": ("Methods", "Means over targets, with 95 % intervals over prompts; IRA and CRA as shares of the "
                  "unsteered ones. Dotted: what was hoped for."),
        "targets": ("Targets", "The same of every target, erased by our method."),
    }  # fmt: skip
    found = [
        el("p", intro, class_="muted"),
        el("div", *(_plot(name, *text, parts) for name, text in words.items() if name in parts), class_="figures"),
        tables.method_table(content),
        el("p", download("unlearning", content.unlearning), class_="note data"),
    ]
    if further := tables.method_table(content, further=True):
        found.append(el("details", el("summary", "Further measurements"), further))
    for method in content.methods:
        if method != UNSTEERED:
            name = f"Every target: {method_name(method)}"
            found.append(
                el("details", el("summary", name), tables.target_table(content, method), open=method == STEERED)
            )
    return found


def _pictures(shown: list[LatentGrid]) -> list[Html]:
    text = (
        "Under each picture what the judge sees on the axis in question, bold where it is what the prompt asks for, "
        "and below it other labels that the unsteered picture does not have. Outlined: the target is asked for and "
        "erased, so there it should be gone; everywhere else nothing should have changed. The first prompt for each "
        "value, not the one that looks best."
    )
    found = [el("p", text, class_="muted")]
    for grid in shown:
        link = el("p", download(grid.name, grid.table()), class_="note data")
        found += [el("h3", grid.title), grid_table(grid), link]
    return found


def _together(content: LatentsContent, parts: Mapping[str, drawing.DrawnFigure]) -> list[Html]:
    text = "Targets added one after the other and erased together. UA is over prompts that ask for any of them."
    shown = [_plot("sequential", "", "Bands are 95 % intervals over prompts.", parts)] if "sequential" in parts else []
    return [el("p", text, class_="muted"), el("div", *shown, class_="figures"), tables.sequential(content)]


def _autoencoders(content: LatentsContent, parts: Mapping[str, drawing.DrawnFigure]) -> list[Html]:
    words = {
        "training": ("Training", "On the rows that are trained on; FVU is the fraction of variance unexplained."),
        "loss-by-step": ("Loss by denoising step", "Held-out prompts. Step 0 begins with noise."),
        "density": ("Densities", "Held-out prompts; latents that are never active are counted as dead, not drawn."),
    }
    plots = [_plot(name, *text, parts) for name, text in words.items() if name in parts]
    # The first is as tall as the two others.
    shown = [plots[0], el("div", *plots[1:], class_="stack")] if len(plots) > 2 else plots
    return [
        el("p", "Measured on prompts of the validation split, none of which was trained on.", class_="muted"),
        tables.saes(content),
        el("div", *shown, class_="figures below"),
    ]


def _concepts(content: LatentsContent, parts: Mapping[str, drawing.DrawnFigure]) -> list[Html]:
    text = (
        "Latents down, concepts across: the mean activation of a latent over the pictures of a concept, as a share of "
        "the largest in its row. A latent of one concept is dark once; outlined is what it was chosen for."
    )
    saes = content.concept_latents["sae"].unique(maintain_order=True).to_list()
    plots = [_plot(f"{slug(sae)}-concepts", sae, "", parts) for sae in saes]
    return [el("p", text, class_="muted"), el("div", *plots, class_="figures")]


def _cards(content: LatentsContent) -> list[Html]:
    scale = el("span", class_="scale", style=f"background:linear-gradient(90deg,{','.join(SCALE)})", aria_hidden="true")
    text = [
        "Each latent with the unsteered pictures on which it is most active: beside each picture where it is active, "
        "the largest activation of a token over all steps. Colours go from 0 ", scale, " to the largest of the card. "
        "The number is the picture's mean activation over tokens and steps.",
    ]  # fmt: skip
    found = [el("p", *text, class_="muted")]
    for place, (concept, some) in enumerate(cards.by_concept(content.cards).items()):
        shown = el("ul", *map(cards.card_html, some), class_="cards")
        summary = el("summary", concept_name(concept).capitalize())
        found.append(el("details", summary, shown, class_="concept", open=place == 0))
    return [*found, el("p", download("cards", cards.cards_table(content.cards)), class_="note data")]


def _points(content: LatentsContent) -> list[Html]:
    found = [
        el("p", "Chosen for each target on tuning prompts, which are not among those scored here.", class_="muted"),
        tables.operating_points(content),
    ]
    if content.trials.height:
        tried = el("details", el("summary", "All trials"), tables.trials(content.trials))
        found += [tried, el("p", download("trials", content.trials), class_="note data")]
    return found


def _plot(name: str, title: str, text: str, parts: Mapping[str, drawing.DrawnFigure]) -> Html:
    drawn = figure(parts[name].svg, f"{title}. {text}".strip(". "), text, download(name, parts[name].table))
    return el("section", *([el("h3", title)] if title else []), drawn)


def _headline(headline: Headline) -> Html:
    bar = headline.bar.replace(" %", f"{THIN}%")
    reached = [" Reached: ", verdict(headline.met)] if headline.met is not None else []
    said = el("span", f"Hoped for: {bar}.", *reached, class_="bar") if bar else ""
    return el("li", el("span", headline.number, class_="number"), headline.sentence, said)


# How to read the page of latents: what each number is, and what it is not.


def notes(content: LatentsContent) -> Html:
    """Headings with their paragraphs, those of the content last."""
    found = {
        "UA, IRA, CRA": "The rates of UnlearnCanvas, read off by a classifier, which errs too. The model itself does "
        "not draw every label that it is asked for, so each rate stands beside that of the unsteered pictures of the "
        "same prompts and seeds; an unsteered UA is the share that the model misses by itself. Means count targets "
        "alike; a mean's relative rate is the ratio of two means.",
        "Intervals": "95 % percentile bootstrap over prompts, the same draws for all targets and methods, edited and "
        "unsteered pictures of a prompt together. Where every prompt agrees an interval has no width, which is no "
        "certainty. FID and times have none.",
        "Methods": "Ours is the edit at its operating point. Plain ablation sets the same latents to zero. SAeUron is "
        "the published rule, its error term with the published sign. Random latents is our edit on as many latents "
        "drawn at random among those that are active. Unsteered pictures are made once.",
        "Artifacts": "A picture counts if some part of it, or its look as a whole, is farther from all unsteered "
        "pictures of other prompts, or more like unsteered pictures that were spoilt on purpose (blobs of other "
        "scenes, bent shapes, stains), than 95 % of unsteered pictures are. So about 5 % of sound pictures count; the "
        "rate of the unsteered pictures stands beside. No steered picture was used to set this up. Small faults and "
        "blur often go unseen.",
        "Distance elsewhere and FID": f"{content.perceptual} compares a picture with the unsteered one of the same "
        "prompt and seed, where the prompt does not name the target and the unsteered picture does not show it. "
        f"{content.fid_name} compares all pictures whose prompts do not name the target with the unsteered ones of the "
        "same prompts; with few pictures it is too large, so compare its values with each other only.",
        "Latents": "Token means are over one picture's tokens and steps on the conditional branch. FVU is the "
        "fraction of variance unexplained; L0 the mean number of active latents of a row; a latent is dead if no "
        "held-out row activates it. AUROC is the chance that a picture of the concept has a larger mean "
        "activation than one without.",
        **content.explanations,
    }
    return join([join([el("h3", title), el("p", text)]) for title, text in found.items()])
