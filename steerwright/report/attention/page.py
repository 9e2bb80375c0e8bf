"""The page of attention edits: one self-contained file, and beside it every figure as PNG with its numbers."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import polars as pl
from PIL import Image

from steerwright.report.attention import tables
from steerwright.report.attention.content import COLOURS, CONDITION_NAMES, AttentionContent, EditTables
from steerwright.report.attention.figures import (
    cosine_heatmap,
    curve_table,
    norm_heatmap,
    strength_curves,
    tuning_curves,
)
from steerwright.report.attention.grid import Cell, Column, Grid, grid
from steerwright.report.attention.tables import slug
from steerwright.report.attention.words import asked, counts, headlines, operating_point
from steerwright.report.html import figures
from steerwright.report.html.page import (
    GRID_STYLE,
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
from steerwright.report.html.sheets import TEXT, SheetCell, SheetColumn, picture_sheet
from steerwright.report.html.theme import THIN
from steerwright.report.html.words import Headline
from steerwright.vectors.steering_vectors import NO_CONTROL


def write_attention_report(folder: Path, content: AttentionContent) -> Path:
    """Write report.html and, beside it, each figure as PNG and its numbers as CSV; returns the page's path.

    `folder` is made if it is not there. The page asks for nothing outside itself: it can be moved, mailed and opened
    from a file. The same content gives the same bytes. Files, for every edit: EDIT-grid, EDIT-strength, EDIT-tuning,
    each .png and .csv, and EDIT-controls.csv; for every concept CONCEPT-norms and CONCEPT-cosines, each .png and .csv;
    images.csv, intervals.csv, trials.csv, comparisons.csv, chosen.json, provenance.json. Names are in small letters
    with hyphens. Raises ValueError if two edits, or two concepts, would share these.
    """
    names = [slug(edit) for edit in content.chosen] + [f"vectors-{slug(concept)}" for concept in content.vectors]
    if len(set(names)) < len(names):
        raise ValueError(f"Edits or concepts of the report have names that are alike as file names: {sorted(names)}.")
    folder.mkdir(parents=True, exist_ok=True)
    edits = {edit: EditTables.of(content, edit) for edit in content.chosen}
    grids = {edit: grid(content, scores) for edit, scores in edits.items()}
    for edit, found in grids.items():
        if found.rows:
            grid_sheet(found, edits[edit].title).save(folder / f"{slug(edit)}-grid.png", optimize=False)
            figures.save_table(folder, f"{slug(edit)}-grid", found.table())
        figures.save_table(folder, f"{slug(edit)}-controls", tables.measured(edits[edit]))
    parts = {name: figures.save_figure(folder, name, *drawing) for name, drawing in _drawings(content, edits).items()}
    figures.save_table(folder, "images", content.images)
    figures.save_table(folder, "intervals", content.aggregate)
    figures.save_table(folder, "comparisons", content.comparisons)
    figures.save_table(folder, "trials", content.trials)
    figures.save_json(folder, chosen=content.chosen, provenance=asdict(content.provenance))
    path = folder / "report.html"
    path.write_text(_page(content, edits, grids, parts), encoding="utf-8")
    return path


def _drawings(
    content: AttentionContent, edits: Mapping[str, EditTables]
) -> dict[str, tuple[tuple[figures.Draw, float], pl.DataFrame]]:
    """Every figure with the numbers behind it, by the name of its files."""
    found: dict[str, tuple[tuple[figures.Draw, float], pl.DataFrame]] = {}
    for edit, scores in edits.items():
        found[f"{slug(edit)}-strength"] = strength_curves(scores, content.perceptual), curve_table(scores)
        trials = content.trials.filter(edit=edit)
        if trials.height:
            found[f"{slug(edit)}-tuning"] = tuning_curves(trials), trials
    for concept, vectors in content.vectors.items():
        if vectors.height:
            found[f"{slug(concept)}-norms"] = norm_heatmap(vectors), vectors.drop("cosine_next", "cosine_mean")
            found[f"{slug(concept)}-cosines"] = cosine_heatmap(vectors), vectors.drop("norm", "control", "noise")
    return found


def _page(
    content: AttentionContent,
    edits: Mapping[str, EditTables],
    grids: Mapping[str, Grid],
    parts: Mapping[str, figures.DrawnFigure],
) -> str:
    targets = {"overview": "All edits"} if len(edits) > 1 else {}
    targets |= {slug(edit): scores.title for edit, scores in edits.items()}
    targets |= {"vectors": "Vectors"} if content.vectors else {}
    targets |= {"answers": "Questions and answers"} if content.comparisons.height else {}
    targets |= {"provenance": "Provenance", "notes": "How to read this"}
    sections = {
        "overview": lambda: [
            el("p", "Where an edit should act, how many pictures show what is added or erased, or what replaces it; "
               "and what it changes on prompts that have nothing to do with it. Intervals are 95 % over prompts.",
               class_="muted"),
            tables.overview(content, edits),
        ],
        **{slug(edit): _edit(content, scores, grids[edit], parts) for edit, scores in edits.items()},
        "vectors": lambda: _vectors(content, parts),
        "answers": lambda: [
            el("p", "Each estimate with its interval, beside what had been hoped for before the run.", class_="muted"),
            tables.comparisons(content, edits),
            el("p", download("comparisons", content.comparisons), class_="note data"),
        ],
        "provenance": lambda: [sources(content.provenance)],
        "notes": lambda: [_notes(content)],
    }  # fmt: skip
    header = el(
        "header", el("h1", content.title), el("p", f"{content.model}. {counts(content)}.", class_="muted"),
        el("nav", *(el("a", name, href=f"#{target}") for target, name in targets.items()), aria_label="Page"),
    )  # fmt: skip
    edit_ids = {slug(edit) for edit in edits}
    body = [header]
    for target, name in targets.items():
        shown = section(target, name, *sections[target]())
        body.append(Html(shown.replace("<section ", '<section class="edit" ', 1)) if target in edit_ids else shown)
    return document(content.title, body, GRID_STYLE)


def _edit(
    content: AttentionContent, scores: EditTables, shown: Grid, parts: Mapping[str, figures.DrawnFigure]
) -> Callable[[], list[Html]]:
    name = slug(scores.name)

    def write() -> list[Html]:
        found = [
            el("p", asked(scores)), el("p", operating_point(scores), class_="muted"),
            el("ul", *map(_headline, headlines(content, scores)), class_="headlines"),
        ]  # fmt: skip
        if shown.rows:
            text = (
                "One row a prompt, on one seed: the first prompts of each kind, not those that look best. Under each "
                f"picture what the judge sees: bold where that is “{scores.wanted}”, and below it every other label "
                "that the unsteered picture does not have."
            )
            link = el("p", download(f"{name}-grid", shown.table()), class_="note data")
            found += [el("h3", "Pictures"), el("p", text, class_="muted"), tables.picture_grid(shown, scores), link]
        found.append(el("div", *_plots(scores, parts), class_="figures"))
        found += [
            el("h3", "Against the controls"),
            el("p", "Random: directions of equal norm, at the same places and strength. In words: the concept in the "
               "prompt instead of the edit. All on the same seeds.", class_="muted"),
            tables.measurements(content, scores, main=True),
        ]  # fmt: skip
        if further := tables.measurements(content, scores, main=False):
            found.append(el("details", el("summary", "Further measurements"), further))
        return [*found, el("p", download(f"{name}-controls", tables.measured(scores)), class_="note data")]

    return write


def _plots(scores: EditTables, parts: Mapping[str, figures.DrawnFigure]) -> list[Html]:
    kind = {
        "contains": f"pictures whose prompts name “{scores.concept}”", "outdoor": "outdoor pictures",
    }.get(scores.measured, "pictures")  # fmt: skip
    words = {
        "strength": (
            "Over strength",
            f"Above, of {kind}: how many show “{scores.wanted}”, and how much of the rest stays. Below, how far "
            "pictures move from the unsteered ones. Bands are 95 % intervals over prompts; marks at the right are "
            "the controls.",
        ),
        "tuning": (
            "On the tuning prompts",
            "Where the operating point (ringed) was chosen: how much of what is wanted comes, and how much of the rest "
            "is kept. These prompts are not among those scored here.",
        ),
    }
    return [_plot(f"{slug(scores.name)}-{name}", *text, parts) for name, text in words.items()
            if f"{slug(scores.name)}-{name}" in parts]  # fmt: skip


def _plot(name: str, title: str, text: str, parts: Mapping[str, figures.DrawnFigure]) -> Html:
    drawn = figure(parts[name].svg, f"{title}. {text}", text, download(name, parts[name].table))
    return el("section", el("h3", title), drawn)


def _vectors(content: AttentionContent, parts: Mapping[str, figures.DrawnFigure]) -> list[Html]:
    found = [
        el("p", "A vector for every block of the denoiser and every step (or bin of steps): how it stands out from "
           "noise, and how alike vectors of one block are over time.", class_="muted"),
    ]  # fmt: skip
    for place, (concept, vectors) in enumerate(content.vectors.items()):
        if vectors.height == 0:
            continue
        noise = int(vectors["noise"].sum())
        known = vectors["control"].is_not_null().any()
        norms = (
            "Norm of each vector, in multiples of its noise level: the norm that shuffled labels give. "
            f"{noise} of {vectors.height} vectors are noise."
            if known else "Norm of each vector, as a share of the largest in its block. No vector is marked as noise: "
            f"{NO_CONTROL}."
        )  # fmt: skip
        cosines = "Cosine of each vector to the next of its block, and to the block's mean over all steps."
        shown = [
            _plot(f"{slug(concept)}-norms", "Norms", norms, parts),
            _plot(f"{slug(concept)}-cosines", "Cosines", cosines, parts),
        ]
        figures_of = el("div", *shown, class_="figures")
        summary = el("summary", f"{concept[:1].upper()}{concept[1:]}".replace("-", " "))
        found.append(el("details", summary, figures_of, class_="concept", open=place == 0))
    return found


def _headline(headline: Headline) -> Html:
    bar = headline.bar.replace(" %", f"{THIN}%")
    reached = [" Reached: ", verdict(headline.met)] if headline.met is not None else []
    said = el("span", f"Hoped for: {bar}.", *reached, class_="bar") if bar else ""
    return el("li", el("span", headline.number, class_="number"), headline.sentence, said)


def _notes(content: AttentionContent) -> Html:
    notes = {
        "Intervals": "95 % percentile bootstrap over prompts: all seeds of a prompt are drawn together, so an interval "
        "says how a number would move with other prompts of this kind. Where every prompt agrees it has no width, "
        "which is no certainty. FID has none.",
        "Conditions": "Unsteered is the prompt alone. Steered is the edit at its operating point. Random pushes as "
        "hard, at the same places, in a random direction. In words is not steered: the concept is added to the prompt, "
        "taken out of it, or swapped in it. Negative prompt gives the concept (for adding, its opposites) as "
        "the negative prompt. All use the same seeds.",
        "Prompts": "Prompts that name the concept are where erasing and replacing must act. Those that name something "
        "near to it, and all others, are where nothing may change.",
        "Labels kept and changed": "Other labels kept is the share of the labels beside the concept's own that equal "
        "the unsteered picture's. A picture counts as changed if any label differs. Labels are read by a classifier, "
        "which errs too.",
        "Perceptual distance and FID": f"{content.perceptual} compares a picture with the unsteered one of the same "
        f"prompt and seed; 0 is the same picture. {content.fid_name} compares all pictures of a condition with all "
        "unsteered ones; with few pictures it is too large, so compare its values with each other only.",
        "Vectors": "A vector is noise if it is no longer than what the same prompts give when their sides are "
        "shuffled. A cosine near 1 to the next step says that one vector would do for both.",
        **content.explanations,
    }
    return join([join([el("h3", title), el("p", text)]) for title, text in notes.items()])


# The grid of one edit as a PNG.


def grid_sheet(grid: Grid, title: str) -> Image.Image:
    """An RGB image: prompts down, strengths and controls across. Raises ValueError if there is no picture."""
    columns = [
        SheetColumn(
            f"Strength {column.name}" if column.condition == "steered" else CONDITION_NAMES[column.condition],
            COLOURS[column.condition] if column.chosen else "muted",
            "operating point" if column.chosen else "",
        )
        for column in grid.columns
    ]  # fmt: skip
    rows = [
        (f"{row.prompt_id}  {row.prompt}", [_sheet_cell(column, row.cells.get(column)) for column in grid.columns])
        for row in grid.rows
    ]
    return picture_sheet(title, columns, rows, gap=8, head=44, foot=TEXT)


def _sheet_cell(column: Column, cell: Cell | None) -> SheetCell | None:
    if cell is None:
        return None
    frame = COLOURS["steered"] if column.chosen else None
    return SheetCell(cell.path, cell.seen, cell.shows, cell.changed, "adaptive" if cell.shows else "muted", frame)
