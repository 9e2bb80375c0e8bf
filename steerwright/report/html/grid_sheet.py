"""The grid of one edit as a PNG."""

from PIL import Image, ImageDraw

from steerwright.report.attention.content import COLOURS, CONDITION_NAMES
from steerwright.report.attention.grid import Column, Grid
from steerwright.report.html.sheets import fit_picture, font, shortened
from steerwright.report.html.theme import LIGHT

CELL, GAP, MARGIN = 128, 8, 36
HEAD, TEXT, LABELS, ROW_GAP = 44, 26, 34, 20


def grid_sheet(grid: Grid, title: str) -> Image.Image:
    """An RGB image: prompts down, strengths and controls across. Raises ValueError if there is no picture."""
    if not grid.rows:
        raise ValueError("There are no pictures for the grid.")
    across = len(grid.columns) * (CELL + GAP) - GAP
    pitch = TEXT + CELL + LABELS + ROW_GAP
    size = 2 * MARGIN + across, 2 * MARGIN + 2 * TEXT + HEAD + len(grid.rows) * pitch - ROW_GAP
    sheet = Image.new("RGB", size, LIGHT["paper"])
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 8), shortened(title, font(20), across), font=font(20), fill=LIGHT["ink"])
    top = MARGIN + TEXT + 8
    for place, column in enumerate(grid.columns):
        _head(draw, column, MARGIN + place * (CELL + GAP), top)
    for number, row in enumerate(grid.rows):
        y = top + HEAD + number * pitch
        text = shortened(f"{row.prompt_id}  {row.prompt}", font(14), across)
        draw.text((MARGIN, y), text, font=font(14), fill=LIGHT["ink"])
        for place, column in enumerate(grid.columns):
            if (cell := row.cells.get(column)) is None:
                continue
            x = MARGIN + place * (CELL + GAP)
            with Image.open(cell.path) as opened:
                picture = fit_picture(opened.convert("RGB"), CELL)
            sheet.paste(picture, (x + (CELL - picture.width) // 2, y + TEXT + (CELL - picture.height) // 2))
            if column.chosen:
                frame = (x - 3, y + TEXT - 3, x + CELL + 2, y + TEXT + CELL + 2)
                draw.rectangle(frame, outline=LIGHT[COLOURS["steered"]], width=2)
            letters, below = font(12, bold=cell.shows), y + TEXT + CELL + 5
            colour = LIGHT["adaptive"] if cell.shows else LIGHT["muted"]
            draw.text((x, below), shortened(cell.seen, letters, CELL), font=letters, fill=colour)
            changed = ", ".join(cell.changed)
            draw.text((x, below + 15), shortened(changed, font(11), CELL), font=font(11), fill=LIGHT["fixed"])
    return sheet


def _head(draw: ImageDraw.ImageDraw, column: Column, x: int, y: int) -> None:
    name = f"Strength {column.name}" if column.condition == "steered" else CONDITION_NAMES[column.condition]
    colour = LIGHT[COLOURS[column.condition]] if column.chosen else LIGHT["muted"]
    letters = font(13, bold=column.chosen)
    draw.text((x, y), shortened(name, letters, CELL), font=letters, fill=colour)
    if column.chosen:
        draw.text((x, y + 17), "operating point", font=font(11), fill=colour)
