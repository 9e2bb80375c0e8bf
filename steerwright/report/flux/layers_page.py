"""The page of layers: each autoencoder in numbers, densities, and which latents of two layers belong together."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from steerwright.report.flux import figures as latent_figures
from steerwright.report.flux.content import FluxContent, LayerContent
from steerwright.report.flux.features import Feature, clear_label, feature_key, value_name
from steerwright.report.flux.report_folder import ReportFolder
from steerwright.report.flux.words import MATCHED, Head, cell, chip, density, nothing, row_head, said, sortable, whole
from steerwright.report.html.page import Html, el, scrolling, section
from steerwright.report.html.theme import DASH, decimal, percent
from steerwright.report.latents.tables import listed

PAIRS, TOP = 24, 3
QUALITY = {
    "l0": ("L0", "mean number of active latents per token, all steps"),
    "fvu": ("FVU", "fraction of variance unexplained"),
    "dead_share": ("Dead in training", "share of latents"),
}


def layers_page(content: FluxContent, features: Sequence[Feature], folder: ReportFolder) -> list[Html]:
    """The parts of the page below its header."""
    return [
        section("autoencoders", "The layers", *_layers(content, folder)),
        section("matching", "Which latents belong together", *_matching(content, features, folder)),
    ]


def _layers(content: FluxContent, folder: ReportFolder) -> list[Html]:
    text = (
        "Each layer has an autoencoder of its own. A latent is alive if any picture makes it active; its density is "
        "the share of pictures that do. Quality is measured on prompts that were not trained on."
    )
    found_rows = (_alive(content), *_bins(content), *_active(content), *_quality(content), *_facts(content))
    rows = [row for row in found_rows if row is not None]
    top = el("tr", el("th", "Measure", scope="col"),
             *(el("th", layer.name, scope="col", class_="n") for layer in content.layers))  # fmt: skip
    found = [el("p", text, class_="muted"), scrolling("The layers", [top], rows, wide=False)]
    logs = {
        layer.name: layer.statistics.filter(pl.col("frequency") > 0)["frequency"].log10() for layer in content.layers
    }
    table = latent_figures.histogram_table(logs, low=_lowest(logs), high=0.0)
    if table.height:
        caption = "Densities: how many latents are active on which share of pictures; those that never are left out."
        drawn = latent_figures.outlines(table, "share of pictures in which a latent is active", "latents", powers=True)
        found.append(folder.figure("density", drawn, table, "Densities of latents", caption))
    return found


def _lowest(logs: dict[str, pl.Series]) -> float:
    return min((math.floor(float(series.min())) for series in logs.values() if len(series)), default=-1.0)  # type: ignore[arg-type]


def _row(name: str, words: str, cells: Sequence[str]) -> Html | None:
    if all(one in ("", DASH) for one in cells):
        return None
    head = el("th", name, el("small", words) if words else "", scope="row")
    return el("tr", head, *(el("td", one, class_="n") for one in cells))


def _alive(content: FluxContent) -> Html | None:
    cells = [
        f"{whole(int(layer.statistics['alive'].sum()))} of {whole(layer.statistics.height)}"
        if layer.statistics.height else DASH for layer in content.layers
    ]  # fmt: skip
    return _row("Alive latents", "active in at least one picture", cells)


def _bins(content: FluxContent) -> list[Html | None]:
    names = list(dict.fromkeys(name for layer in content.layers for name in layer.statistics["bin"].to_list()))
    words = {"dead": "never active", "rare": "in less than 1 % of pictures", "common": "in 1 to 10 %",
             "very common": "in 10 % or more"}  # fmt: skip
    order = [name for name in words if name in names] + [name for name in names if name not in words]
    rows = []
    for name in order:
        cells = []
        for layer in content.layers:
            count = layer.statistics.filter(bin=name).height
            total = layer.statistics.height
            cells.append(f"{whole(count)} ({density(count / total)})" if total else DASH)
        rows.append(_row(f"{name.capitalize()} latents", words.get(name, ""), cells))
    return rows


def _active(content: FluxContent) -> list[Html | None]:
    """What the comparison says of the two dictionaries on the same pictures."""
    facts = dict(zip(content.matched or (), (content.comparison.get(side, {}) for side in "ab"), strict=False))
    own = [facts.get(layer.name, {}) for layer in content.layers]
    return [
        _row(name, words, [decimal(one.get(key), 1) for one in own])
        for key, name, words in (
            ("latents_per_image", "Latents per picture", "mean number active on any of its tokens"),
            ("l0", "Latents per token", "mean number active, on these pictures at this step (L0)"),
        )
    ]


def _quality(content: FluxContent) -> list[Html | None]:
    rows = []
    for key, (name, words) in QUALITY.items():
        values = [layer.quality.get(key) for layer in content.layers]
        shown = [
            DASH
            if value is None
            else percent(value)
            if key == "dead_share"
            else decimal(value, 1 if key == "l0" else 3)
            for value in values
        ]
        rows.append(_row(name, words, shown))
    return rows


def _facts(content: FluxContent) -> list[Html | None]:
    names = list(dict.fromkeys(name for layer in content.layers for name in layer.facts))
    return [_row(name, "", [layer.facts.get(name, DASH) for layer in content.layers]) for name in names]


def _matching(content: FluxContent, features: Sequence[Feature], folder: ReportFolder) -> list[Html]:
    text = (
        "Numbers of latents mean nothing across dictionaries, so pairs are found by what latents do: an assignment "
        "that makes the sum of the correlations of their scores over the same pictures as large as possible, each "
        "latent used once. Decoder directions are compared where both layers write into one space."
    )
    if content.matches.height == 0 or content.matched is None:
        return [el("p", text, class_="muted"), el("p", content.why("matches"))]
    first, second = (content.layer(name) for name in content.matched)
    matches = content.matches.sort("correlation", descending=True, nulls_last=True)
    columns = {"correlation": ("correlation of a matched pair", "Correlation of matched pairs over the same pictures.")}
    if "cosine" in matches.columns and matches["cosine"].drop_nulls().len():
        columns["cosine"] = ("decoder cosine of a matched pair", "Cosine of the decoder directions of matched pairs.")
    shown = []
    for name, (axis, caption) in columns.items():
        table = latent_figures.histogram_table({f"{first.name}{DASH}{second.name}": matches[name]})
        drawn = latent_figures.outlines(table, axis, "pairs")
        shown.append(folder.figure(f"matches-{name}", drawn, table, caption, caption))
    parts = [el("p", text, class_="muted"), *_agreement(matches, first, second, content.interpretable)]
    parts += comparison_parts(content.comparison)
    parts += [el("div", *shown, class_="two"), _pairs(content, matches, first, second, features, folder),
              el("p", folder.table("matches", matches), class_="note data")]  # fmt: skip
    return parts


def _agreement(
    matches: pl.DataFrame, first: LayerContent, second: LayerContent, threshold: float
) -> list[Html]:  # fmt: skip
    """Of strongly matched pairs in which both match a label: how often it is the same value."""
    known = pl.col("auroc") >= threshold
    a = first.labels.filter(known).select(latent_a="latent", one="label", first="value")
    b = second.labels.filter(known).select(latent_b="latent", other="label", second="value")
    strong = matches.filter(pl.col("correlation") >= MATCHED).join(a, on="latent_a").join(b, on="latent_b")
    if strong.height == 0:
        return []
    same = strong.filter(pl.col("one") == pl.col("other"), pl.col("first") == pl.col("second")).height
    text = (
        f"Of {whole(strong.height)} pairs with a correlation of at least {MATCHED:g} in which both match a label, "
        f"{percent(same / strong.height)} match the same value."
    )
    return [el("p", text)]


def _pairs(
    content: FluxContent, matches: pl.DataFrame, first: LayerContent, second: LayerContent,
    features: Sequence[Feature], folder: ReportFolder,
) -> Html:  # fmt: skip
    """The best pairs, and all pairs of selected features, with the top pictures of both sides."""
    chosen = {(feature.layer.name, feature.latent) for feature in features}
    places = [
        place for place, row in enumerate(matches.iter_rows(named=True))
        if place < PAIRS or (first.name, row["latent_a"]) in chosen or (second.name, row["latent_b"]) in chosen
    ]  # fmt: skip
    kept = matches[places]
    images = {row["image"]: row for row in content.images.iter_rows(named=True)}
    rows = []
    for row in kept.iter_rows(named=True):
        cells = []
        for layer, latent in ((first, row["latent_a"]), (second, row["latent_b"])):
            own = layer.labels.filter(latent=latent).to_dicts()
            label = own[0] if own else {}
            value = value_name(label) if clear_label(label, content.interpretable) else ""
            name: Html | str = f"{latent}"
            if (layer.name, latent) in chosen:
                name = el("a", f"{latent}", href=f"index.html#{feature_key(layer.name, latent)}")
            top = layer.top.filter(latent=latent).sort("rank").head(TOP)["image"].to_list()
            shown = (images[image] for image in top if image in images)
            pictures = [
                folder.pictures.image(content.image_folder / one["file"], one["prompt"], kind="thumb") for one in shown
            ]
            cells += [
                row_head(name, latent) if layer is first else el("td", name, data_v=f"{latent}"),
                el("td", chip(label["label"], value) if value else "", data_v=value),
                el("td", *pictures),
            ]
        cosine = row.get("cosine")
        cells.insert(3, nothing() if cosine is None else cell(decimal(cosine, 2), cosine))
        cells.insert(3, cell(decimal(row["correlation"], 2), row["correlation"]))
        rows.append(el("tr", *cells))
    heads = [
        Head(first.name.capitalize(), "latent", number=False), Head("Label", "if clear", number=False),
        Head("Top pictures", number=False), Head("Correlation", "of scores over pictures"),
        Head("Cosine", "of decoder directions"), Head(second.name.capitalize(), "latent", number=False),
        Head("Label", "if clear", number=False), Head("Top pictures", number=False),
    ]  # fmt: skip
    caption = f"The {min(PAIRS, matches.height)} best pairs, and those of selected features."
    return sortable("Matched pairs", heads, rows, caption)


# The summary of a comparison of two layers (`features.matching.match_summary`), in words and with its chance level.

KNOWN = ("a", "b", "pairs", "correlation", "share_above", "chance", "chance_high", "share_above_chance")


def comparison_parts(summary: Mapping[str, Any]) -> list[Html]:
    """A table of what matched beside what matches by chance; what else the summary says is listed as it stands."""
    chance = summary.get("chance") or {}
    rows = []
    if summary.get("correlation") is not None:
        name = f"Mean correlation of the {whole(summary.get('pairs', 0))} pairs"
        rows.append(_pair_row(name, "", decimal(summary["correlation"], 2), decimal(chance.get("correlation"), 2)))
    for bar, share in (summary.get("share_above") or {}).items():
        by_chance = (chance.get("share_above") or {}).get(bar)
        words = "of the alive latents of the smaller dictionary"
        rows.append(_pair_row(f"Matched at {bar} and more", words, percent(share), percent(by_chance)))
    if summary.get("share_above_chance") is not None:
        name = f"Pairs above {decimal(summary['chance_high'], 2)}"
        rows.append(_pair_row(name, "which 5 % of chance pairs exceed", percent(summary["share_above_chance"]), "5 %"))
    found = []
    if rows:
        chance_head = el("th", "By chance", el("small", "pictures of one layer shuffled"), scope="col", class_="n")
        top = el("tr", el("th", "Matching", scope="col"), el("th", "Found", scope="col", class_="n"), chance_head)
        found.append(scrolling("What matched", [top], rows, wide=False))
    rest = [
        (str(key).replace("_", " ").capitalize(), said(value)) for key, value in summary.items() if key not in KNOWN
    ]
    return [*found, listed(rest)] if rest else found


def _pair_row(name: str, words: str, found: str, by_chance: str) -> Html:
    head = el("th", name, el("small", words) if words else "", scope="row")
    return el("tr", head, el("td", found, class_="n"), el("td", by_chance or DASH, class_="n"))
