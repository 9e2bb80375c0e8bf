"""The page of steering: what strength does to the label of each feature, and all steered pictures."""

from collections.abc import Sequence

import polars as pl

from steerwright.report.flux import figures
from steerwright.report.flux.cards import steered_strip
from steerwright.report.flux.content import FluxContent
from steerwright.report.flux.features import Feature
from steerwright.report.flux.report_folder import ReportFolder
from steerwright.report.flux.statistics import Ends
from steerwright.report.flux.words import Head, cell, chip, nothing, points, points_between, row_head, sortable
from steerwright.report.html.labelled_grid import signed
from steerwright.report.html.page import Html, el, section
from steerwright.report.html.theme import decimal, percent

MODES = {
    "add": ("Direction added", "every token moves along the decoder direction, by the strength times the mean norm"),
    "encode_edit_decode": (
        "Encoded, edited, decoded",
        "the latent itself is raised or lowered so far that the token would move as much, but not below zero; only "
        "the change is decoded, so what the autoencoder cannot explain stays exactly",
    ),
}


def steering_page(
    content: FluxContent, features: Sequence[Feature], steered: Sequence[Ends], rates: pl.DataFrame,
    folder: ReportFolder,
) -> list[Html]:  # fmt: skip
    """The parts of the page below its header."""
    return [
        section("rates", "What strength does", *_rates(content, steered, rates, folder)),
        section("pictures", "Steered pictures", *_pictures(content, features, folder)),
    ]


def _rates(content: FluxContent, steered: Sequence[Ends], rates: pl.DataFrame, folder: ReportFolder) -> list[Html]:
    text = (
        "Steered pictures, judged: the share that shows the value that the feature matches best, strength by strength; "
        "those of the demo grids, or of the steered pictures below where a feature has no grid. Prompts and seeds are "
        "the same at every strength; intervals are 95 % bootstrap over prompts. At strength 0 nothing is edited."
    )
    if not steered:
        return [el("p", text, class_="muted"), el("p", content.layers[0].why("grids"))]
    rows = []
    for one in steered:
        feature = one.feature
        means = rates.filter(layer=feature.layer.name, latent=feature.latent)
        at_plus = means.filter(strength=one.plus).to_dicts()
        lpips, clip = (at_plus[0]["lpips"], at_plus[0]["clip"]) if at_plus else (None, None)
        link = el("a", f"{feature.layer.name} {feature.latent}", href=f"index.html#{feature.key}")
        rows.append(el(
            "tr", row_head(link, f"{feature.layer.name} {feature.latent:09}"),
            el("td", chip(feature.label["label"], feature.value), data_v=feature.value),
            cell(percent(one.rate_minus), one.rate_minus, f"at {signed(one.minus)}"),
            nothing() if one.unsteered is None else cell(percent(one.unsteered), one.unsteered),
            cell(percent(one.rate_plus), one.rate_plus, f"at {signed(one.plus)}"),
            cell(points(one.difference), one.difference, points_between(one.low, one.high)),
            cell(f"{one.pairs}", one.pairs),
            nothing() if lpips is None else cell(decimal(lpips, 3), lpips),
            nothing() if clip is None else cell(decimal(clip, 3), clip),
        ))  # fmt: skip
    heads = [
        Head("Feature", number=False), Head("Label", number=False), Head("Minus", "pictures that show it"),
        Head("Unsteered"), Head("Plus"), Head("Difference", "plus less minus; 95 % interval"),
        Head("Pictures", "at each end"), Head(content.perceptual, "to unsteered, at plus"),
        Head(content.clip, "to the prompt, at plus"),
    ]  # fmt: skip
    table = pl.DataFrame([
        {"layer": one.feature.layer.name, "latent": one.feature.latent, "value": one.feature.value, "minus": one.minus,
         "plus": one.plus, "rate_minus": one.rate_minus, "unsteered": one.unsteered, "rate_plus": one.rate_plus,
         "difference": one.difference, "low": one.low, "high": one.high, "pairs": one.pairs}
        for one in steered
    ])  # fmt: skip
    shown = [
        folder.figure("steering-ends", figures.ends_dumbbell(steered), table, "Label rates at both ends of strength",
                      "Open: the strength farthest to minus; line: unsteered; filled: farthest to plus."),
        folder.figure("steering-rates", figures.rate_curves(rates), rates, "Label rates over strength",
                      "Each panel a feature: pictures that show its label, over strength; bands are 95 % intervals."),
    ]  # fmt: skip
    return [el("p", text, class_="muted"), sortable("Steering by feature", heads, rows),
            el("div", *shown, class_="two")]  # fmt: skip


def _pictures(content: FluxContent, features: Sequence[Feature], folder: ReportFolder) -> list[Html]:
    known = [feature for feature in features if feature.layer.steering.filter(latent=feature.latent).height]
    if not known:
        return [el("p", f"No pictures were steered. {content.layers[0].why('steering')}")]
    used = [mode for mode in MODES if any(f.layer.steering.filter(mode=mode).height for f in known)]
    listed = "; ".join(f"{MODES[mode][0].lower()}: {MODES[mode][1]}" for mode in used)
    parts = [
        el("p", f"Every prompt on one seed, from minus to plus. {listed[:1].upper()}{listed[1:]}.", class_="muted")
    ]
    for feature in known:
        parts.append(el("section", *_of_feature(feature, folder), id=feature.key))
    return parts


def _of_feature(feature: Feature, folder: ReportFolder) -> list[Html]:
    title = el("h3", f"Latent {feature.latent}, {feature.layer.name}")
    about = el("p", chip(feature.label["label"], feature.value) if feature.value else "", " ",
               el("a", "Card", href=f"index.html#{feature.key}"), class_="note")  # fmt: skip
    strips = []
    pictures = feature.layer.steering.filter(latent=feature.latent)
    for mode in pictures["mode"].unique(maintain_order=True).to_list():
        for (prompt, seed), part in pictures.filter(mode=mode).group_by("prompt", "seed", maintain_order=True):
            rows = part.unique("strength", maintain_order=True).sort("strength")
            name = MODES.get(mode, (str(mode).replace("_", " ").capitalize(), ""))[0]
            strip = steered_strip(
                rows.to_dicts(), feature.layer.steering_folder, folder.pictures, feature.wanted, str(prompt)
            )
            text = el("p", f"{name}. {prompt} ", el("small", f"seed {seed}"), class_="of-strip")
            strips.append(el("div", text, strip))
    return [title, about, el("div", *strips, class_="two strips")]
