"""The page of language models: index.html, with figures/ and data/ beside it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl

from steerwright.report.html.figures import Attachments, save_json
from steerwright.report.html.page import Html, document, el, join, section, sources, verdict
from steerwright.report.html.theme import THIN, percent
from steerwright.report.html.words import Headline
from steerwright.report.language import figures as heat_tables
from steerwright.report.language import figures as heatmaps
from steerwright.report.language import frontier, tables, texts
from steerwright.report.language import tables as rates
from steerwright.report.language.content import LanguageContent, concept_name
from steerwright.report.language.words import PRESENT, counts, decoding_name, headlines, missed, point_words


def write_language_report(content: LanguageContent, folder: Path) -> Path:
    """Write index.html into `folder`, with figures/ (PNG) and data/ (CSV) beside it; returns the page's path.

    `folder` is made if it is not there. The page fetches nothing and links to nothing outside the folder: it can be
    moved, packed and opened from a file. The same content gives the same bytes. What there is no data for is said in a
    sentence, and not drawn. Also data/chosen.json and data/provenance.json.
    """
    files = Attachments(folder)
    path = folder / "index.html"
    path.write_text(_page(content, files), encoding="utf-8")
    save_json(folder / "data", chosen=dict(content.chosen), provenance=asdict(content.provenance))
    return path


def _page(content: LanguageContent, files: Attachments) -> str:
    done = el("dl", *(part for name, text in content.done.items() for part in (el("dt", name), el("dd", text))), 
              class_="done")  # fmt: skip
    sections: dict[str, tuple[str, Callable[[], Sequence[Html]]]] = {
        "done": ("What was done", lambda: [done]),
        "concepts": ("Every concept", lambda: _concepts(content, files)),
        "texts": ("Texts side by side", lambda: _texts(content, files)),
        "sweep": ("Layers and strengths", lambda: _sweep(content, files)),
        "frontier": ("The coherence frontier", lambda: _frontier(content, files)),
        "mixes": ("Mixing", lambda: _mixes(content, files)),
        "removal": ("Removal", lambda: _removal(content, files)),
        "vectors": ("The vectors", lambda: vectors_part(content, files)),
        "notes": ("How to read this", lambda: [notes(content)]),
        "provenance": ("Provenance", lambda: [sources(content.provenance)]),
    }
    if not content.done:
        del sections["done"]
    links = [el("a", title, href=f"#{name}") for name, (title, _) in sections.items()]
    header = el(
        "header", el("h1", content.title), el("p", f"{content.model}. {counts(content)}.", class_="muted"),
        el("nav", *links, aria_label="Page"),
    )  # fmt: skip
    told = [_headline(headline) for headline in headlines(content)]
    body = [header, *([el("ul", *told, class_="headlines")] if told else [])]
    body += [section(name, title, *write()) for name, (title, write) in sections.items()]
    return document(content.title, body, LANGUAGE_STYLE + heat_tables.HEAT_STYLE)


def _concepts(content: LanguageContent, files: Attachments) -> list[Html]:
    if not content.decodings:
        return [_none("No texts were scored.")]
    text = (
        "At the layer and strength that were chosen for each concept on other prompts. A concept came as hoped where "
        "all four conditions above hold."
    )
    found = [el("p", text, class_="muted")]
    for place, decoding in enumerate(content.decodings):
        table, title = tables.concepts_table(content, decoding), f"{decoding_name(decoding)} texts"
        found += [el("h3", title), table] if place == 0 else [el("details", el("summary", title), table)]
    if why := missed(content):
        found.append(el("p", f"Not as hoped: {why}.", class_="note missed"))
    numbers = files.table("measurements", content.aggregate)
    shown = [
        files.titled_figure("rates", rates.condition_rates(content), numbers, "Rates by condition",
                      "Share of texts that show the concept, with 95 % intervals over prompts."),
        files.titled_figure("perplexities", rates.condition_ratios(content), numbers, "Perplexity by condition",
                      "Times that of the unsteered texts, with 95 % intervals. Dotted: what was hoped for at most."),
    ]  # fmt: skip
    every = el("details", el("summary", "All measurements, condition by condition"), tables.measurements(content))
    return [*found, el("div", *shown, class_="figures below"), every]


def _texts(content: LanguageContent, files: Attachments) -> list[Html]:
    if not (parts := texts.concept_texts(content)):
        return [_none("No texts were kept.")]
    said = (
        f"The same prompt and the same seed under every condition: {texts.SHOWN} test prompts for each concept, taken "
        "in turn from the list and not picked by hand. Below each text, how probable the concept is to the judge, and "
        "the text's perplexity to the unsteered model. An ellipsis stands where a text reached its number of tokens."
    )
    link = el("p", "All texts with all of their scores: ", files.table("texts", content.texts), class_="note data")
    return [el("p", said, class_="muted"), *parts, link]


def _sweep(content: LanguageContent, files: Attachments) -> list[Html]:
    swept = set(content.sweep["concept"].to_list())
    concepts = [concept for concept in content.concepts if concept in swept]
    if not concepts:
        return [_none("No layers and strengths were tried.")]
    numbers, limit = files.table("sweep", content.sweep), content.ratio_limit
    text = "On tuning prompts, none of which is scored above. Each layer is steered with its own vector."
    overview = [
        files.titled_figure("sweep-rates", heatmaps.rate_maps(content.sweep, concepts), numbers,
                      "Where each can be steered",
                      "Share of texts that show the concept."),
        files.titled_figure("sweep-perplexities", heatmaps.ratio_maps(content.sweep, concepts, limit), numbers, 
                      "What it costs", "Perplexity in times the unsteered one; amber: beyond the limit."),
    ]  # fmt: skip
    marks = [("best", "chosen"), ("unsafe", "not safe: too unlikely, or too repetitive")]
    said = el("p", "One by one; point at a number for everything that was measured there.", class_="muted points")
    found = [el("p", text, class_="muted"), el("div", *overview, class_="figures"), said, heat_tables.legend(marks)]
    for place, concept in enumerate(concepts):
        point = point_words(content.chosen.get(concept, {}))
        rows = content.sweep.filter(concept=concept)
        found.append(_swept(concept_name(concept), point, rows, limit, "Texts that show it, in per cent", place == 0))
    return found


def _swept(name: str, point: str, rows: pl.DataFrame, limit: float | None, title: str, opened: bool) -> Html:
    """The sweep of a concept or mix, a part that opens."""
    shown = [
        el("div", el("h3", title), heat_tables.rate_table(rows)),
        el("div", el("h3", "Perplexity, in times the unsteered one"), heat_tables.ratio_table(rows, limit)),
    ]
    summary = el("summary", el("b", name), el("small", point))
    return el("details", summary, el("div", *shown, class_="figures"), class_="of-concept", open=opened)


def _frontier(content: LanguageContent, files: Attachments) -> list[Html]:
    table = frontier.frontier_table(content)
    if table.height == 0:
        return [_none("No perplexities were measured over layers and strengths.")]
    numbers = files.table("frontier", table)
    text = (
        "Every point of the sweep: how often the concept comes, against how unlikely the text becomes. Good points lie "
        "up and to the left; the line joins those that no other point beats in both. Dotted: the limit of what is safe."
    )
    said = f"Every point that was tried, beyond {frontier.EDGE:g} at the edge; the filled mark is the chosen one."
    shown = [
        files.titled_figure("frontier", frontier.together(content), numbers, "All concepts", 
                      "Only the fronts, coloured by factor; filled marks are the chosen points."),
        files.titled_figure("frontiers", frontier.each(content), numbers, "One by one", said),
    ]  # fmt: skip
    return [el("p", text, class_="muted"), el("div", *shown, class_="figures")]


def _mixes(content: LanguageContent, files: Attachments) -> list[Html]:
    if content.mixes.height == 0:
        return [_none("No concepts were mixed.")]
    text = (
        "With a plus sign one vector, the weighted sum of the concepts' vectors, is added at one layer. In turns each "
        "concept steers sentences of the answer, as many as its weight says. All parts at once is the share of texts "
        "in which the judge sees every part."
    )
    parts = texts.mix_texts(content)
    shown = [el("details", el("summary", "Texts of the mixes"), *parts)] if parts else []
    tried: list[Html] = []
    for mix in content.mix_sweep["concept"].unique(maintain_order=True).to_list():
        point, rows = point_words(content.chosen.get(mix, {})), content.mix_sweep.filter(concept=mix)
        name, title = texts.mix_name(content.mixes.filter(mix=mix)) or mix, "Texts that show all parts, in per cent"
        tried.append(_swept(name, point, rows, content.ratio_limit, title, not tried))
    if tried:
        link = el("p", files.table("mix-sweep", content.mix_sweep), class_="note data")
        shown.append(el("details", el("summary", "Layers and strengths that were tried"), *tried, link))
    return [el("p", text, class_="muted"), tables.mixes_table(content), 
            el("p", files.table("mixes", content.mixes), class_="note data"), *shown]  # fmt: skip


def _removal(content: LanguageContent, files: Attachments) -> list[Html]:
    conditions = rates.removal_conditions(content)
    if not conditions:
        return [_none("No concept was removed.")]
    text = (
        "The prompt asks for the concept in words, and an edit works against it while the model reads and writes: the "
        "direction in which those words move the tokens of an answer is projected out of the activations or subtracted "
        "from them, as texts.removal of the parameters says. The fewer texts still show the concept, the better. They "
        "are compared with those that show it, so a text that does as the plain request costs some perplexity."
    )
    numbers = files.table("removal", rates.rates_table(content, conditions))
    drawn = files.titled_figure("removal", rates.removal_rates(content), numbers, "Rates with and without",
                          "Share of texts that show the concept, with 95 % intervals over prompts.")  # fmt: skip
    table = el(
        "div",
        el("h3", f"In numbers: {decoding_name(content.decodings[0]).lower()} texts"),
        tables.removal_table(content, conditions[0]),
    )
    parts = texts.removal_texts(content)
    shown = [el("details", el("summary", "Texts, one prompt for each concept"), *parts)] if parts else []
    return [el("p", text, class_="muted"), el("div", drawn, table, class_="figures"), *shown]


def _none(sentence: str) -> Html:
    return el("p", sentence, class_="muted")


def _headline(headline: Headline) -> Html:
    bar = headline.bar.replace(" %", f"{THIN}%")
    reached = [" Reached: ", verdict(headline.met)] if headline.met is not None else []
    said = el("span", f"Hoped for: {bar}.", *reached, class_="bar") if bar else ""
    return el("li", el("span", headline.number, class_="number"), headline.sentence, said)


# How to read the page of language models: what each number is, and what it is not.


def notes(content: LanguageContent) -> Html:
    """Headings with their paragraphs, those of the content last."""
    judge = content.judge[:1].upper() + content.judge[1:]
    ratio = f" (here {content.ratio_limit:g} times)" if content.ratio_limit is not None else ""
    varied = f" (here {percent(content.distinct_limit)})" if content.distinct_limit is not None else ""
    found = {
        "Rate": f"The share of texts that show a concept: {content.judge} gives it a probability of at least "
        f"{percent(PRESENT)}. {judge} sees the text alone, neither the prompt nor the condition, and errs too, so the "
        "rate of the unsteered texts stands beside.",
        "Perplexity": "Of the generated tokens given their prompt, to the model without any edit; means are of the "
        "negative log-likelihood by token. The ratio is to the unsteered texts of the same prompts and seeds. It says "
        "how far a text is from what the model would write by itself: a text may be coherent and unlikely, and an "
        "endless repetition can be likely, which distinct-n and repeated are there to show. Texts that were asked for "
        "a concept in words are judged under the plain prompt, as steered ones are; where a direction was removed, "
        "under the prompt that asks, and compared with the texts that were asked.",
        "Distinct-n, repeated and KL": "Distinct-1 and distinct-2 are the shares of different words and of different "
        "word pairs in all texts of a condition together, so they compare only between equally many texts. Repeated is "
        "the share of a text's word triples that stood in it before. KL is the mean divergence of the steered "
        "next-token distribution from the unsteered one, in nats, over the generated tokens.",
        "Conditions": "All use the same prompts and seeds, and sampled texts share their random numbers, so a pair "
        "differs by the edit alone. The random direction is added as strongly as the concept's, at the same layer. "
        "Asked in words names the concept in the prompt, and no edit is made. Removed asks in words too, while the "
        "direction in which those words move an answer's tokens is projected out of the activations or subtracted "
        "from them.",
        "Strength": f"{_strength(content)} At strength 0 nothing is edited.",
        "Layers and strengths": "Each layer is steered with the vector of that layer. The point of each concept was "
        "chosen on tuning prompts: the highest rate among the safe points, of equals the lowest perplexity. A point is "
        f"safe while the perplexity ratio stays within its limit{ratio} and distinct-2 above a share of the unsteered "
        f"one{varied}. Safe to is the strength up to which every one that was tried at that layer was safe. Nothing "
        "was chosen on the test prompts that are scored here.",
        "Separability": "The AUROC with which the projection onto a layer's direction tells held-out texts with the "
        "concept from their counterparts: 0.5 is chance, 1 is perfect. A layer may separate perfectly and steer badly.",
        "Intervals": "95 % percentile bootstrap over prompts: all texts of a prompt are drawn together. Where every "
        "prompt agrees an interval has no width, which is no certainty.",
        **content.explanations,
    }
    return join([join([el("h3", title), el("p", text)]) for title, text in found.items()])


def _strength(content: LanguageContent) -> str:
    """What a strength counts, where all points agree."""
    units = {str(point.get("units")) for point in content.chosen.values()} or {"relative"}
    words = {
        "relative": "How far a token is moved along the direction, as a share of its own norm, so that layers and "
        "models can be compared.",
        "unit": "How far a token is moved along the direction, in the units of the activations.",
        "raw": "How far a token is moved along the direction, in lengths of the difference that it was fitted from.",
    }
    return words.get(units.pop() if len(units) == 1 else "", "How far a token is moved along the direction.")


# What the page of language models adds to the common style sheet.

LANGUAGE_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


# The part of the page on the vectors: how well they separate, how long they are, how they lie to each other.

NORMS = heatmaps.ColourScale((0.05, 0.1, 0.2, 0.4, 0.8), heatmaps.PALE, "%", 100)


def vectors_part(content: LanguageContent, files: Attachments) -> list[Html]:
    """Heatmaps of separability and length over layers, and of cosines; a sentence where there is nothing."""
    statistics = content.statistics
    described = set(statistics["concept"].to_list())
    concepts = [concept for concept in content.concepts if concept in described]
    layers = {concept: point.get("layer") for concept, point in content.chosen.items()}
    numbers = files.table("statistics", statistics)
    shown: list[Html] = []
    if statistics["separability"].drop_nulls().len():
        drawn = heatmaps.layer_map(statistics, "separability", concepts, heatmaps.SEPARABILITY, _auroc, layers)
        shown.append(files.titled_figure("separability", drawn, numbers, "Separability by layer",
                                   "AUROC on held-out pairs: 0.5 is chance, 1 is perfect."))  # fmt: skip
    if statistics["relative_norm"].drop_nulls().len():
        drawn = heatmaps.layer_map(statistics, "relative_norm", concepts, NORMS, _percent, layers)
        shown.append(files.titled_figure("norms", drawn, numbers, "Length by layer",
                                   "Length of the difference, in per cent of the residual stream's norm."))  # fmt: skip
    if content.cosines.drop_nulls("cosine").height:
        table, told = _at_one_layer(content)
        near = [concept for concept in content.concepts if concept in set(table["concept"].to_list())]
        shown.append(files.titled_figure("cosines", heatmaps.cosine_map(table, near),
                                   files.table("cosines", content.cosines), 
                                   "How concepts lie to each other", told))  # fmt: skip
    if not shown:
        return [el("p", "Nothing was measured on the vectors.", class_="muted")]
    return [el("div", *shown, class_="figures")]


def _at_one_layer(content: LanguageContent) -> tuple[pl.DataFrame, str]:
    """The cosines of the layer that was chosen most often (of equals the first), and what is to be said of them."""
    layers = content.cosines["layer"].drop_nulls().unique().sort().to_list()
    if not layers:
        return content.cosines, "Cosine between the directions of two concepts."
    votes = [content.chosen.get(concept, {}).get("layer") for concept in content.concepts]
    layer = max(layers, key=lambda one: (votes.count(one), -one))
    often = ", the one chosen most often" if votes.count(layer) else ""
    return content.cosines.filter(
        layer=layer
    ), f"Cosine between the directions of two concepts at layer {layer}{often}."


def _auroc(value: float) -> str:
    return "1" if value >= 0.995 else f"{value:.2f}".removeprefix("0")


def _percent(value: float) -> str:
    return percent(value)[:-2]
