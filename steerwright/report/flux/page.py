"""The report of the FLUX pipeline: a gallery of features and pages around it, which open from a file."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from steerwright.report.flux.assets import FLUX_STYLE, SCRIPT
from steerwright.report.flux.content import FluxContent
from steerwright.report.flux.decoder_page import decoder_page
from steerwright.report.flux.demos_page import demos_page, grids_of
from steerwright.report.flux.features import features as selected_features
from steerwright.report.flux.gallery import gallery
from steerwright.report.flux.layers_page import layers_page
from steerwright.report.flux.report_folder import ReportFolder
from steerwright.report.flux.statistics import choices, ends, label_rates, prediction
from steerwright.report.flux.steering_page import steering_page
from steerwright.report.flux.truth_page import truth_page
from steerwright.report.flux.words import counts, headlines
from steerwright.report.html.labelled_grid import draw_grid
from steerwright.report.html.page import Html, document, el, join, section
from steerwright.report.html.tables import sources
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
    (folder / "provenance.json").write_text(json.dumps(asdict(content.provenance), indent=1, default=str) + "\n")
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
