"""The report of the FLUX pipeline: a gallery of features and pages around it, which open from a file."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from steerkit.report.flux.content import FluxContent
from steerkit.report.flux.decoder_page import decoder_page
from steerkit.report.flux.demos_page import demos_page, grids_of
from steerkit.report.flux.features import features as selected_features
from steerkit.report.flux.gallery import gallery
from steerkit.report.flux.layers_page import layers_page
from steerkit.report.flux.method_page import method_page
from steerkit.report.flux.rates import ends, label_rates
from steerkit.report.flux.report_folder import ReportFolder
from steerkit.report.flux.script import SCRIPT
from steerkit.report.flux.steering_page import steering_page
from steerkit.report.flux.style import FLUX_STYLE
from steerkit.report.flux.truth import choices, prediction
from steerkit.report.flux.truth_page import truth_page
from steerkit.report.flux.words import counts, headlines
from steerkit.report.html import Html, el
from steerkit.report.labelled_grid import draw_grid
from steerkit.report.parts import document
from steerkit.scoring.bootstrap import Bootstrap

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
