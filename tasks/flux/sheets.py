"""All selected latents on one sheet: a latent a line, each picture beside its overlay."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from PIL import Image, ImageDraw

from steerwright.dag import Dep, Out
from steerwright.report.html.labelled_grid import draw_missing
from steerwright.report.html.sheets import font, paste_picture, shortened
from steerwright.report.html.theme import LIGHT, decimal


def contact_sheet(
    images: Annotated[Path, Dep()],
    pictures: Annotated[Path, Dep()],
    selected: Annotated[Path, Dep()],
    labels: Annotated[Path, Dep()],
    overlays: Annotated[Path, Dep()],
    table: Annotated[Path, Dep()],
    facts: Annotated[Path, Dep()],
    sheet: Annotated[Path, Out("contact-sheet.png")],
) -> None:
    """Draw the sheet."""
    said = json.loads(facts.read_text())
    rows = sheet_rows(
        pl.read_parquet(selected), pl.read_parquet(images), pl.read_parquet(table), pl.read_parquet(labels), pictures,
        overlays,
    )  # fmt: skip
    title = f"{len(rows)} features of {said['hookpoint']}, step {said['step']}, by coherence above chance"
    feature_sheet(rows, title).save(sheet, format="PNG")


# The contact sheet of selected features: a feature a line, each example's picture beside its overlay, as one PNG.

CELL, PAIR_GAP, GAP, MARGIN = 128, 2, 16, 36
TITLE, HEAD, CAPTION, ROW_GAP = 40, 26, 20, 22
NO_OVERLAY, NO_PICTURE = "no overlay", "no picture"


@dataclass(frozen=True, slots=True)
class SheetExample:
    """A picture, the same with its heat (None: there is none, and the sheet says so), and what stands under both."""

    picture: Path
    overlay: Path | None
    caption: str


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A feature: its name, the facts after it, its examples."""

    name: str
    facts: str
    examples: tuple[SheetExample, ...]


def sheet_rows(
    selected: pl.DataFrame, images: pl.DataFrame, overlays: pl.DataFrame, labels: pl.DataFrame, picture_folder: Path,
    overlay_folder: Path,
) -> list[SheetRow]:  # fmt: skip
    """A row for every selected latent, in the order of rank.

    `selected`: rank, latent, coherence, z, examples (list of images); `images`: image, prompt, file (relative to
    `picture_folder`); `overlays`: latent, image, file (relative to `overlay_folder`), map_max; `labels`: latent,
    label, value, auroc, or empty where no truth is known.
    """
    prompts = {row["image"]: row for row in images.select("image", "prompt", "file").iter_rows(named=True)}
    heated = {(row["latent"], row["image"]): row for row in overlays.iter_rows(named=True)}
    best = {row["latent"]: row for row in labels.iter_rows(named=True)}
    rows = []
    for row in selected.sort("rank").iter_rows(named=True):
        latent = row["latent"]
        examples = []
        for image in row["examples"]:
            over = heated.get((latent, image))
            caption = f"{decimal(over['map_max'], 2)}  {prompts[image]['prompt']}" if over else prompts[image]["prompt"]
            path = overlay_folder / over["file"] if over else None
            examples.append(SheetExample(picture_folder / prompts[image]["file"], path, caption))
        rows.append(SheetRow(f"Latent {latent}", _facts(row, best.get(latent)), tuple(examples)))
    return rows


def feature_sheet(rows: Sequence[SheetRow], title: str) -> Image.Image:
    """An RGB image: features down, examples across; the same rows give the same pixels.

    Raises ValueError if there is no feature.
    """
    if not rows:
        raise ValueError("There are no features for the contact sheet.")
    pair = 2 * CELL + PAIR_GAP
    columns = max(1, *(len(row.examples) for row in rows))
    across = columns * (pair + GAP) - GAP
    pitch = HEAD + CELL + CAPTION + ROW_GAP
    sheet = Image.new("RGB", (2 * MARGIN + across, 2 * MARGIN + TITLE + len(rows) * pitch - ROW_GAP), LIGHT["paper"])
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 8), shortened(title, font(20), across), font=font(20), fill=LIGHT["ink"])
    for number, row in enumerate(rows):
        y = MARGIN + TITLE + number * pitch
        name = f"{row.name}   "
        draw.text((MARGIN, y), name, font=font(15, bold=True), fill=LIGHT["ink"])
        left = font(15, bold=True).getlength(name)
        draw.text((MARGIN + left, y + 1), shortened(row.facts, font(14), int(across - left)), font=font(14),
                  fill=LIGHT["muted"])  # fmt: skip
        for place, example in enumerate(row.examples):
            x = MARGIN + place * (pair + GAP)
            _paste(sheet, draw, example.picture, x, y + HEAD, NO_PICTURE)
            _paste(sheet, draw, example.overlay, x + CELL + PAIR_GAP, y + HEAD, NO_OVERLAY)
            draw.text((x, y + HEAD + CELL + 4), shortened(example.caption, font(12), pair), font=font(12),
                      fill=LIGHT["muted"])  # fmt: skip
    return sheet


def _facts(row: dict[str, Any], best: dict[str, Any] | None) -> str:
    parts = []
    if best is not None and best["label"] is not None:
        parts.append(f"{best['label']} {best['value']}, AUROC {decimal(best['auroc'], 2)}")
    parts.append(f"coherence {decimal(row['coherence'], 2)}, z {decimal(row['z'], 1)}")
    return "   ".join(parts)


def _paste(sheet: Image.Image, draw: ImageDraw.ImageDraw, path: Path | None, x: int, y: int, words: str) -> None:
    if path is None or not path.is_file():
        draw_missing(draw, x, y, CELL, CELL, words)
        return
    paste_picture(sheet, path, CELL, x, y)
