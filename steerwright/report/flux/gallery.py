"""The first page: what was found, the controls, all selected features as a table, and their cards."""

from collections.abc import Mapping, Sequence

from steerwright.report.flux.cards import card
from steerwright.report.flux.content import FluxContent
from steerwright.report.flux.features import Feature
from steerwright.report.flux.report_folder import ReportFolder
from steerwright.report.flux.statistics import Ends
from steerwright.report.flux.words import (
    Head,
    between,
    cell,
    chip,
    density,
    nothing,
    points,
    points_between,
    row_head,
    sortable,
)
from steerwright.report.html.page import Html, el, section, verdict
from steerwright.report.html.theme import THIN, decimal
from steerwright.report.html.words import Headline
from steerwright.report.latents.tables import listed
from steerwright.report.latents.words import number

# Value of the control, its name, and which way it goes first.
SORTS = (
    ("place", "layer and rank", "ascending"), ("rank", "rank", "ascending"), ("z", "coherence z", "descending"),
    ("coherence", "coherence", "descending"), ("auroc", "AUROC of its label", "descending"),
    ("density", "density", "descending"), ("value", "label", "ascending"), ("latent", "number", "ascending"),
)  # fmt: skip
THUMBS = 4


def gallery(
    content: FluxContent, features: Sequence[Feature], steered: Sequence[Ends], found: Sequence[Headline],
    folder: ReportFolder,
) -> list[Html]:  # fmt: skip
    """The parts of the page below its header."""
    ends = {one.feature.key: one for one in steered}
    named = {feature.key: feature.value for feature in features}
    body = [el("ul", *map(headline_item, found), class_="headlines")] if found else []
    if content.done:
        body.append(section("done", "What was done", listed(list(content.done.items()))))
    if not features:
        reasons = [el("p", f"{layer.name}: {layer.why('selected')}") for layer in content.layers]
        return [*body, section("gallery", "Features", el("p", "No feature was selected."), *reasons)]
    cards = [card(feature, folder.pictures, place, ends.get(feature.key), named)
             for place, feature in enumerate(features)]  # fmt: skip
    intro = (
        "Selected latents of the autoencoders, with the pictures on which they are most active. A heat map shows on "
        "which image tokens a latent was active at the step that the autoencoder reads; nothing was generated again "
        "for it. A label is the one of the pictures' known labels that the latent's score tells best from all others."
    )
    if any(not feature.chosen for feature in features):
        intro += " After the selected latents come those that were steered because they match some label best."
    parts = [
        el("p", intro, class_="muted"), _controls(content, features), _table(features, ends, folder),
        el("p", "No feature fits; ask for less.", id="none", hidden=True),
        el("ul", *cards, class_="features", id="features"),
    ]  # fmt: skip
    return [*body, section("gallery", "Features", *parts)]


def headline_item(headline: Headline) -> Html:
    """A headline with what had been hoped for."""
    bar = headline.bar.replace(" %", f"{THIN}%")
    said = el("span", f"Hoped for: {bar}. Reached: ", verdict(headline.met), class_="bar") if bar else ""
    return el("li", el("span", headline.number, class_="number"), headline.sentence, said)


def _controls(content: FluxContent, features: Sequence[Feature]) -> Html:
    labels = sorted({feature.label["label"] for feature in features if feature.value})
    values = sorted({feature.value for feature in features if feature.value})
    bins = list(dict.fromkeys(feature.statistics["bin"] for feature in features if feature.statistics.get("bin")))
    kinds = [("", "all"), ("selected", "selected"), ("steered", "steered only")]
    fields = [
        _field("Find", _input(type="search", name="find", placeholder="latent, label, word of a prompt",
                          autocomplete="off")),
        _choice("Layer", "layer", [("", "all"), *((layer.name, layer.name) for layer in content.layers)]),
        *([_choice("Kind", "kind", kinds)] if any(not feature.chosen for feature in features) else []),
        _choice("Label", "label", [("", "all"), *((name, f"any {name}") for name in labels),
                                   *((value, value) for value in values)]),
        _choice("Density", "density", [("", "all"), *((name, name) for name in bins)]),
        _field("AUROC at least", _input(type="number", name="auroc", min="0.5", max="1", step="0.05",
                                    inputmode="decimal")),
        _field("Sort by", el("select", *(el("option", name, value=value, data_order=order)
                                         for value, name, order in SORTS), name="sort")),
        el("label", _input(type="checkbox", name="reverse"), "reversed", class_="check"),
        el("button", "Reset", type="reset"),
        el("output", number(len(features), "feature"), id="count", aria_live="polite"),
    ]  # fmt: skip
    return el("form", *fields, id="controls", class_="controls", role="search", aria_label="Features shown")


def _input(**attributes: str) -> Html:
    # An element without an end tag.
    return Html(el("input", **attributes).removesuffix("</input>"))


def _field(name: str, field: Html) -> Html:
    return el("label", name, field)


def _choice(name: str, key: str, options: Sequence[tuple[str, str]]) -> Html:
    return _field(name, el("select", *(el("option", text, value=value) for value, text in options), name=key))


def _table(features: Sequence[Feature], ends: Mapping[str, Ends], folder: ReportFolder) -> Html:
    heads = [
        Head("Feature", "layer and latent", number=False), Head("Label", number=False),
        Head("AUROC", "of its label; 95 % interval"), Head("Coherence", "mean CLIP cosine"),
        Head("z", "against random pictures"), Head("Density", "of pictures"),
        Head("Peak", "on its region; chance below"), Head("Steering", "label's rate, end to end"),
        Head("Pictures", number=False),
    ]  # fmt: skip
    rows = [_row(feature, ends.get(feature.key), folder) for feature in features]
    shown = sortable("All selected features", heads, rows)
    return el(
        "details", el("summary", "All of them as a table"), shown, el("p", _data(features, folder), class_="note")
    )


def _row(feature: Feature, end: Ends | None, folder: ReportFolder) -> Html:
    label, stats = feature.label, feature.statistics
    link = el("a", f"{feature.layer.name} {feature.latent}", href=f"#{feature.key}")
    thumbs = [folder.pictures.image(one.picture, one.prompt, kind="thumb") for one in feature.examples[:THUMBS]]
    cells = [
        row_head(link, f"{feature.layer.name} {feature.latent:09}"),
        el("td", chip(label["label"], feature.value) if feature.value else "", data_v=feature.value),
        nothing() if label.get("auroc") is None else cell(
            decimal(label["auroc"], 2), label["auroc"], between(label.get("low"), label.get("high"))),
        cell(decimal(feature.selected["coherence"], 2), feature.selected["coherence"]),
        cell(decimal(feature.selected["z"], 1), feature.selected["z"]),
        cell(density(stats.get("frequency")), stats.get("frequency")),
        nothing() if label.get("pointing") is None else cell(
            density(label["pointing"]), label["pointing"], f"{label['region']}; {density(label['base_rate'])}"),
        nothing() if end is None else cell(
            points(end.difference), end.difference, points_between(end.low, end.high)),
        el("td", *thumbs),
    ]  # fmt: skip
    return el("tr", *cells, data_key=feature.key)


def _data(features: Sequence[Feature], folder: ReportFolder) -> Html:
    """A link to the same as CSV."""
    import polars as pl

    rows = [
        {"layer": feature.layer.name, "latent": feature.latent, "rank": feature.selected["rank"],
         "coherence": feature.selected["coherence"], "z": feature.selected["z"],
         "frequency": feature.statistics.get("frequency"), "bin": feature.statistics.get("bin"),
         "largest": feature.statistics.get("largest"), "label": feature.label.get("label"),
         "value": feature.label.get("value"), "auroc": feature.label.get("auroc"), "low": feature.label.get("low"),
         "high": feature.label.get("high"), "region": feature.label.get("region"),
         "pointing": feature.label.get("pointing"), "base_rate": feature.label.get("base_rate"),
         "norm": feature.decoder.get("norm"), "examples": " ".join(str(one.image) for one in feature.examples)}
        for feature in features
    ]  # fmt: skip
    return folder.table("features", pl.DataFrame(rows, infer_schema_length=None))
