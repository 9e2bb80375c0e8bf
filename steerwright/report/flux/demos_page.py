"""The page of demos: what the search tried, and a grid of pictures for each steered feature."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from steerwright.report.flux import figures
from steerwright.report.flux.content import FluxContent
from steerwright.report.flux.features import Feature
from steerwright.report.flux.report_folder import Pictures, ReportFolder
from steerwright.report.flux.words import Head, cell, chip, nothing, row_head, sortable
from steerwright.report.html.labelled_grid import GridCell, LabelledGrid, arrange_grid, signed
from steerwright.report.html.page import Html, el, join, picture_cell, picture_table, section
from steerwright.report.html.theme import decimal
from steerwright.report.latents.words import number

# Longer tables are folded.
LONG = 24
FURTHER = {"concept_gain": ("Concept gain", "{clip} cosine to the concept, plus less minus"),
           "fidelity": ("Fidelity", "{clip} cosine to the prompt, as a share of the unsteered one")}  # fmt: skip


def grids_of(features: Sequence[Feature]) -> dict[str, LabelledGrid]:
    """The grid of every selected feature that has pictures, by the feature's key."""
    found = {}
    for feature in features:
        pictures = feature.layer.grids.filter(latent=feature.latent)
        if pictures.height:
            title = f"Latent {feature.latent}, {feature.layer.name}" + (f": {feature.value}" if feature.value else "")
            found[feature.key] = arrange_grid(
                pictures, feature.layer.grid_folder, title, feature.layer.strengths or None, feature.wanted
            )
    return found


def demos_page(content: FluxContent, features: Sequence[Feature], folder: ReportFolder) -> list[Html]:
    """The parts of the page below its header."""
    return [
        section("candidates", "The search for demos", *_trials(content, features, folder)),
        section("grids", "Grids", *_grids(content, features, folder)),
    ]


def _trials(content: FluxContent, features: Sequence[Feature], folder: ReportFolder) -> list[Html]:
    text = (
        f"Candidates are pictures in which a feature is moderately active. Each was steered to plus and minus; the "
        f"score is half the sum of the two distances ({content.perceptual}) to the unsteered picture, times one half "
        "plus half of the smaller over the larger, so that both signs have to change the picture. Change is not "
        "success: beside the score stand how much nearer plus is to the concept than minus, and how true both are "
        "to the prompt. Bold: kept for the grids."
    )
    tables = [layer.trials.with_columns(layer=pl.lit(layer.name)) for layer in content.layers if layer.trials.height]
    if not tables:
        return [el("p", text, class_="muted"), el("p", content.layers[0].why("trials"))]
    trials = pl.concat(tables, how="diagonal_relaxed").sort("score", descending=True, nulls_last=True)
    further = [name for name in FURTHER if name in trials.columns]
    named = {(feature.layer.name, feature.latent): feature for feature in features}
    images = {row[key]: row for row in content.images.iter_rows(named=True) for key in ("image", "id") if key in row}
    rows = []
    for row in trials.iter_rows(named=True):
        feature = named.get((row["layer"], row["latent"]))
        name = f"{row['layer']} {row['latent']}"
        values = [row["strength"], row["score"], row["lpips_plus"], row["lpips_minus"], *(row[key] for key in further)]
        rows.append(el(
            "tr", row_head(el("a", name, href=f"index.html#{feature.key}") if feature else name, name),
            el("td", chip(feature.label["label"], feature.value) if feature and feature.value else "",
               data_v=feature.value if feature else ""),
            *(nothing() if value is None else cell(f"{value:g}" if place == 0 else decimal(value, 3), value)
              for place, value in enumerate(values)),
            _candidate(row, images, content, folder),
            class_="chosen" if row.get("kept") else None,
        ))  # fmt: skip
    heads = [
        Head("Feature", number=False), Head("Label", number=False), Head("Strength", "of both signs, in mean norms"),
        Head("Score", "0: no change"), Head("Plus", content.perceptual), Head("Minus", content.perceptual),
        *(Head(FURTHER[key][0], FURTHER[key][1].format(clip=content.clip)) for key in further),
        Head("Candidate", number=False),
    ]  # fmt: skip
    parts = [el("p", text, class_="muted")]
    both = trials.filter(pl.col("score").is_not_null() & pl.col("concept_gain").is_not_null()) if further[:1] == [
        "concept_gain"] else trials.clear()  # fmt: skip
    shown = sortable("Candidates", heads, rows, number(trials.height, "trial") + ", the highest score first.")
    if both.height:
        caption = (
            "Every trial: right is more change, up is more of the concept. Trials that change much and gain nothing "
            "lie low on the right."
        )
        drawn = figures.change_against_gain(both)
        columns = ("layer", "latent", "prompt_id", "seed", "strength", "score", "concept_gain")
        table = both.select(name for name in columns if name in both.columns)
        parts.append(folder.figure("change-gain", drawn, table, "Score against concept gain", caption))
    if trials.height > LONG:
        shown = el("details", el("summary", f"All {trials.height} trials"), shown)
    return [*parts, shown, el("p", folder.table("trials", trials), class_="note data")]


def _candidate(row: Mapping[str, Any], images: Mapping[Any, Mapping[str, Any]], content: FluxContent,
               folder: ReportFolder) -> Html:  # fmt: skip
    """The unsteered picture of a trial with its prompt, as far as they are known."""
    found = images.get(row["image"] if row.get("image") is not None else row.get("prompt_id"))
    prompt = row.get("prompt") or (found["prompt"] if found else "")
    thumb = folder.pictures.image(content.image_folder / found["file"], prompt, kind="thumb") if found else ""
    return el("td", thumb, f" {prompt}", class_="wrap", data_v=prompt)


def _grids(content: FluxContent, features: Sequence[Feature], folder: ReportFolder) -> list[Html]:
    text = (
        "The same prompts and seeds at every strength, in units of the mean norm of what the layer computes; the "
        "unsteered pictures are outlined. Under each picture what the judge sees of the label of the feature, in "
        "colour where it is its value, and other labels that the unsteered picture does not have. A picture that is "
        "not there is a box that says why."
    )
    grids = grids_of(features)
    if not grids:
        return [el("p", text, class_="muted"), el("p", content.layers[0].why("grids"))]
    missing = sum(grid.missing for grid in grids.values())
    parts = [el("p", text, class_="muted")]
    if missing:
        parts.append(el("p", f"{number(missing, 'picture')} of these grids are not there.", class_="changed"))
    without = [feature for feature in features if feature.key not in grids]
    if without:
        names = ", ".join(f"{feature.layer.name} {feature.latent}" for feature in without)
        parts.append(el("p", f"No grid was made for: {names}.", class_="note"))
    by_key = {feature.key: feature for feature in features}
    for key, grid in grids.items():
        feature = by_key[key]
        files: list[str] = [folder.table(f"grid-{key}", grid.table()),
                 el("a", f"grid-{key}.png", href=f"figures/grid-{key}.png", download=True)]  # fmt: skip
        label = chip(feature.label["label"], feature.value) if feature.value else ""
        about = el("p", label, " ", el("a", "Card", href=f"index.html#{key}"), " ", join(files, " "), class_="note")
        title = f"Latent {feature.latent}, {feature.layer.name}"
        parts.append(el("section", el("h3", title), about, grid_table(grid, folder.pictures), id=key))
    return parts


# A labelled grid as a table of the page.


def grid_table(grid: LabelledGrid, pictures: Pictures) -> Html:
    """Prompts down, strengths across; a cell without a picture says why."""
    names = [signed(strength) if strength else "unsteered" for strength in grid.strengths]
    head = el("tr", *(el("th", name, scope="col") for name in names))
    rows = (
        (el("span", row.prompt, el("small", f"seed {row.seed}")),
         [_cell(cell, pictures, f"{row.prompt}, {name}", strength)
          for cell, name, strength in zip(row.cells, names, grid.strengths, strict=True)])
        for row in grid.rows
    )  # fmt: skip
    return picture_table(grid.title, [head], rows, len(names))


def _cell(cell: GridCell, pictures: Pictures, alt: str, strength: float) -> Html:
    seen = ", ".join(cell.seen)
    shown = pictures.image(cell.path, f"{alt}, judged {seen}" if seen else alt, cell.missing)
    shows, class_ = "shows" if cell.shows else None, None if strength else "unsteered"
    return picture_cell(shown, seen, cell.changed, shows=shows, class_=class_)
