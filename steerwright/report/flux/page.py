"""The report of the FLUX pipeline: a gallery of features and pages around it, which open from a file."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl

from steerwright.report.flux import figures
from steerwright.report.flux.cards import steered_strip
from steerwright.report.flux.content import FluxContent
from steerwright.report.flux.decoder_page import decoder_page
from steerwright.report.flux.demos_page import demos_page, grids_of
from steerwright.report.flux.features import Feature
from steerwright.report.flux.features import features as selected_features
from steerwright.report.flux.gallery import gallery
from steerwright.report.flux.layers_page import layers_page
from steerwright.report.flux.report_folder import FLUX_STYLE, SCRIPT, ReportFolder
from steerwright.report.flux.statistics import Ends, choices, ends, label_rates, prediction
from steerwright.report.flux.truth_page import truth_page
from steerwright.report.flux.words import (
    Head,
    cell,
    chip,
    counts,
    headlines,
    nothing,
    points,
    points_between,
    row_head,
    sortable,
)
from steerwright.report.html.figures import save_json
from steerwright.report.html.labelled_grid import draw_grid, signed
from steerwright.report.html.page import Html, document, el, join, section, sources
from steerwright.report.html.theme import decimal, percent
from steerwright.stats.bootstrap import Bootstrap

PAGES = {
    "index": "Gallery", "truth": "Truth", "steering": "Steering", "demos": "Demos", "decoder": "Decoder",
    "layers": "Layers", "method": "Method",
}  # fmt: skip


def write_flux_report(content: FluxContent, folder: Path, bootstrap: Bootstrap | None = None) -> Path:
    """Write the pages of `PAGES` into `folder`, with what they need beside them; returns the path of index.html.

    `folder` is made if it is not there. The pages ask for nothing outside it and fetch nothing: it can be moved, packed
    and opened from a file. The same content gives the same bytes. Beside the pages: pictures/, figures/ (each figure
    and each grid as PNG), data/ (each figure's and table's numbers as CSV, provenance.json, the exports).
    `bootstrap`: how the intervals of label rates are drawn.
    """
    beside = ReportFolder(folder)
    features = selected_features(content)
    drawn = bootstrap or Bootstrap()
    steered, rates = ends(features, drawn), label_rates(features, drawn)
    chosen = [one for layer in content.layers for one in choices(layer, content.interpretable)]
    found = (prediction(layer, content.interpretable) for layer in content.layers)
    predicted = [one for one in found if one is not None]
    bodies = {
        "index": gallery(content, features, steered, headlines(content, chosen, predicted, steered), beside),
        "truth": truth_page(content, features, chosen, predicted, beside),
        "steering": steering_page(content, features, steered, rates, beside),
        "demos": demos_page(content, features, beside),
        "decoder": decoder_page(content, features, beside),
        "layers": layers_page(content, features, beside),
        "method": method_page(content),
    }
    for key, grid in grids_of(features).items():
        draw_grid(grid).save(folder / "figures" / f"grid-{key}.png", optimize=False)
    _lay_beside(content, folder / "data")
    for name, body in bodies.items():
        (folder / f"{name}.html").write_text(_page(content, name, body), encoding="utf-8")
    return folder / "index.html"


def _page(content: FluxContent, name: str, body: Sequence[Html]) -> str:
    links = [
        el("a", title, href=f"{other}.html", aria_current="page" if other == name else None)
        for other, title in PAGES.items()
    ]
    title = content.title if name == "index" else PAGES[name]
    first = el("a", "Skip to the content", href="#content", class_="skip")
    nav = el("nav", *links, aria_label="Pages", class_="pages")
    under = f"{content.model}. {counts(content)}." if name == "index" else content.title
    header = el("header", el("h1", title), el("p", under, class_="muted"), id="content", tabindex=-1)
    script = el("script", Html(SCRIPT))
    full = content.title if name == "index" else f"{PAGES[name]}. {content.title}"
    return document(full, [first, nav, header, *body, script], FLUX_STYLE)


def _lay_beside(content: FluxContent, folder: Path) -> None:
    save_json(folder, provenance=asdict(content.provenance))
    for path in content.exports.values():
        if path.is_dir():
            shutil.copytree(path, folder / path.name, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, folder / path.name)


# The page of method: what each number is and what it is not, and where the report comes from.


def method_page(content: FluxContent) -> list[Html]:
    """The parts of the page below its header."""
    parts = [section("reading", "How to read this", _notes(content))]
    if content.exports:
        links = [el("li", el("a", name, href=f"data/{path.name}")) for name, path in content.exports.items()]
        parts.append(section("exports", "For other tools", el("ul", *links)))
    return [*parts, section("provenance", "Provenance", sources(content.provenance))]


def _notes(content: FluxContent) -> Html:
    found = {
        "Latent and feature": "A latent is a number of the autoencoder and keeps its index; a feature is what a latent "
        "seems to stand for. The gallery shows selected latents, so it shows the best of the dictionary and not its "
        "average.",
        "Score": "The score of a latent on a picture is the largest activation over the picture's image tokens, at the "
        "denoising step and hookpoint that the autoencoder was trained on. Density is the share of pictures whose "
        "score is above the threshold of an alive latent; it is a share of pictures, not of tokens.",
        "Heat": "Heat is a latent's activation on each token, over the picture in dim grey. It is full at a percentile "
        "of the positive activations over all examples of the latent, so heat can be compared within a card but not "
        "between cards.",
        "Coherence": f"The mean cosine between the {content.clip} embeddings of all pairs of the pictures with the "
        "highest scores, one picture of each prompt, pictures on which the latent is inactive left out. Some pictures "
        "resemble each other anyhow: z is the coherence less the mean of random sets of as many pictures from distinct "
        "prompts, in their standard deviations, and the range beside it holds 95 % of those sets.",
        "Labels and AUROC": "The AUROC of a latent and a label value is the chance that a picture that shows the value "
        "has a larger score than one that does not. Each latent gets its best value of all, chosen on the pictures on "
        "which it is measured, so AUROCs of rare values are too high by a little; the AUROC with shuffled pictures, "
        "where it stands beside, says by how much. Labels are read by a classifier, which errs too.",
        "Random choice": "Selected features are compared with drawing as many latents of the same layer at random "
        "without replacement: the count of interpretable ones is then hypergeometric. The second pool has only latents "
        "that the selection could have taken.",
        "Pointing game": "Does the most active token lie on the region that the label is about? The chance beside it "
        "is what a latent that peaks anywhere would get. A latent can know an object by its surroundings and be a "
        "good detector.",
        "Strength": "Strengths are in units of the mean norm of what the layer computes at the hookpoint, so that "
        "layers can be compared. At strength 0 nothing is edited. A change of the picture is no success by itself: "
        "label rates, or the gain of the concept, say whether the right thing changed.",
        "Matching": "Two dictionaries have no common numbering. A pair is matched by scores over the same pictures; a "
        "correlation may also come from labels that occur together in the prompts.",
        **content.explanations,
    }
    return join([join([el("h3", title), el("p", text)]) for title, text in found.items()])


# The page of steering: what strength does to the label of each feature, and all steered pictures.

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
