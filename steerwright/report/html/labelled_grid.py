"""Grids of a steered latent: prompts down, strengths from minus to plus across, unsteered in the middle.

Under every picture stands a strip with its strength and what the judge sees in it. A picture that is not there is a
cell that says so: a grid never becomes narrower or shorter because something failed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image, ImageDraw

from steerwright.report.html.sheets import font, paste_picture, shortened
from steerwright.report.html.theme import LIGHT, MINUS

LABELS = ("season", "object", "colour", "place", "time")
NOT_MADE, LOST = "not made", "file is missing"
CELL, GAP, MARGIN = 128, 8, 36
HEAD, TEXT, STRIP, ROW_GAP = 34, 26, 40, 18


@dataclass(frozen=True, slots=True)
class GridCell:
    """One picture, or why there is none.

    `seen`: the values that the judge reads off, the label in question alone where there is one; `shows`: it is the
    value in question; `changed`: values of the other labels that the unsteered picture of the row does not have.
    """

    path: Path | None
    missing: str = ""
    seen: tuple[str, ...] = ()
    shows: bool = False
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GridRow:
    """A prompt on one seed, a cell for every strength of the grid."""

    prompt_id: str
    prompt: str
    seed: int
    cells: tuple[GridCell, ...]


@dataclass(frozen=True, slots=True)
class LabelledGrid:
    """The grid of one latent; `strengths` ascend and hold 0."""

    title: str
    strengths: tuple[float, ...]
    rows: tuple[GridRow, ...]

    @property
    def missing(self) -> int:
        """How many cells have no picture."""
        return sum(cell.path is None for row in self.rows for cell in row.cells)

    def table(self) -> pl.DataFrame:
        """What is shown, one row a cell, cells without a picture among them."""
        rows = [
            {"prompt_id": row.prompt_id, "prompt": row.prompt, "seed": row.seed, "strength": strength,
             "seen": ", ".join(cell.seen), "shows": cell.shows, "changed": ", ".join(cell.changed),
             "missing": cell.missing}
            for row in self.rows for strength, cell in zip(self.strengths, row.cells, strict=True)
        ]  # fmt: skip
        schema = {"prompt_id": pl.String, "prompt": pl.String, "seed": pl.Int64, "strength": pl.Float64,
                  "seen": pl.String, "shows": pl.Boolean, "changed": pl.String, "missing": pl.String}  # fmt: skip
        return pl.DataFrame(rows, schema=schema)


def arrange_grid(
    pictures: pl.DataFrame, folder: Path, title: str, strengths: Sequence[float] | None = None,
    wanted: tuple[str, str] | None = None,
) -> LabelledGrid:  # fmt: skip
    """The grid of the pictures of one latent, prompts in the order of their first row.

    `pictures`: strength, prompt, seed, file (relative to `folder`, null if the picture was not made), optionally
    prompt_id (else the prompt stands for it) and label columns. `strengths`: those that the grid has to show, 0 with
    them; without it those of `pictures`, each with its opposite, so that the unsteered picture is in the middle.
    `wanted`: the label and value that the latent is about. Raises ValueError if a cell has two pictures.
    """
    found = _axis(pictures["strength"].to_list(), strengths)
    named = pictures.with_columns(
        pl.col("prompt_id" if "prompt_id" in pictures.columns else "prompt").cast(pl.String).alias("prompt_id")
    )
    rows = []
    for (prompt_id, seed), part in named.group_by("prompt_id", "seed", maintain_order=True):
        cells: dict[float, dict[str, Any]] = {}
        for row in part.iter_rows(named=True):
            strength = float(row["strength"]) + 0.0
            if strength in cells:
                raise ValueError(f"prompt {prompt_id}, seed {seed} has two pictures of strength {strength:g}")
            cells[strength] = row
        shown = tuple(_cell(cells.get(strength), cells.get(0.0), folder, wanted) for strength in found)
        rows.append(GridRow(str(prompt_id), part["prompt"][0], int(str(seed)), shown))
    return LabelledGrid(title, found, tuple(rows))


def signed(strength: float) -> str:
    """`+2`, `−0.5` with a true minus, `0`."""
    return f"{strength:+g}".replace("-", MINUS) if strength else "0"


def draw_grid(grid: LabelledGrid) -> Image.Image:
    """An RGB image of the grid; the same grid gives the same pixels. Raises ValueError if it has no row."""
    if not grid.rows:
        raise ValueError(f"the grid {grid.title!r} has no prompt to show")
    across = len(grid.strengths) * (CELL + GAP) - GAP
    pitch = TEXT + CELL + STRIP + ROW_GAP
    size = 2 * MARGIN + across, 2 * MARGIN + TEXT + HEAD + len(grid.rows) * pitch - ROW_GAP
    sheet = Image.new("RGB", size, LIGHT["paper"])
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 10), shortened(grid.title, font(20), across), font=font(20), fill=LIGHT["ink"])
    top = MARGIN + TEXT + 6
    for place, strength in enumerate(grid.strengths):
        name = f"Strength {signed(strength)}" if strength else "Unsteered"
        draw.text((MARGIN + place * (CELL + GAP), top), shortened(name, font(13), CELL), font=font(13),
                  fill=LIGHT["muted"])  # fmt: skip
    for number, row in enumerate(grid.rows):
        y = top + HEAD - 6 + number * pitch
        draw.text((MARGIN, y), shortened(row.prompt, font(14), across), font=font(14), fill=LIGHT["ink"])
        for place, (strength, cell) in enumerate(zip(grid.strengths, row.cells, strict=True)):
            _draw_cell(sheet, draw, strength, cell, MARGIN + place * (CELL + GAP), y + TEXT)
    return sheet


def draw_missing(draw: ImageDraw.ImageDraw, x: int, y: int, width: int, height: int, words: str) -> None:
    """A frame with words in it, where a picture should be."""
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=LIGHT["panel"], outline=LIGHT["rule"])
    text = shortened(words, font(12), width - 8)
    left = x + (width - font(12).getlength(text)) / 2
    draw.text((left, y + height / 2 - 8), text, font=font(12), fill=LIGHT["fixed"])


def _axis(there: Iterable[float], asked: Sequence[float] | None) -> tuple[float, ...]:
    # Adding 0.0 turns a negative zero into zero.
    if asked is not None:
        return tuple(sorted({float(strength) + 0.0 for strength in asked} | {0.0}))
    known = {float(strength) for strength in there}
    return tuple(sorted({value + 0.0 for strength in known for value in (strength, -strength)} | {0.0}))


def _cell(
    row: dict[str, Any] | None, plain: dict[str, Any] | None, folder: Path, wanted: tuple[str, str] | None
) -> GridCell:
    if row is None or row["file"] is None:
        return GridCell(None, NOT_MADE)
    path = folder / row["file"]
    if not path.is_file():
        return GridCell(None, LOST)
    labels = {label: row[label] for label in LABELS if row.get(label) is not None}
    own = wanted[0] if wanted is not None and wanted[0] in labels else None
    seen = (str(labels[own]),) if own else tuple(map(str, labels.values()))
    before = plain if plain is not None else {}
    changed = tuple(
        str(value) for label, value in labels.items()
        if own and label != own and before.get(label) not in (None, value)
    )  # fmt: skip
    return GridCell(path, "", seen, bool(own and wanted and labels[own] == wanted[1]), changed)


def _draw_cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, strength: float, cell: GridCell, x: int, y: int) -> None:
    if cell.path is None:
        draw_missing(draw, x, y, CELL, CELL, cell.missing)
    else:
        paste_picture(sheet, cell.path, CELL, x, y)
    below = y + CELL + 4
    label = f"{signed(strength)}  "
    draw.text((x, below), label, font=font(12), fill=LIGHT["muted"])
    left = font(12).getlength(label)
    letters = font(12, bold=cell.shows)
    seen = shortened(", ".join(cell.seen), letters, int(CELL - left))
    draw.text((x + left, below), seen, font=letters, fill=LIGHT["adaptive"] if cell.shows else LIGHT["muted"])
    changed = shortened(", ".join(cell.changed), font(11), CELL)
    draw.text((x, below + 16), changed, font=font(11), fill=LIGHT["fixed"])
