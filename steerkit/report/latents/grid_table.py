"""A grid of pictures as a table of the page, and as a PNG."""

from PIL import Image, ImageDraw

from steerkit.report.contact_sheet import fit_picture
from steerkit.report.html import Html, el
from steerkit.report.latents.grids import Cell, Grid
from steerkit.report.lettering import font, shortened
from steerkit.report.parts import SMALL, picture
from steerkit.report.theme import DASH, LIGHT

CELL, GAP, MARGIN = 128, 10, 36
HEAD, TEXT, LABELS, ROW_GAP = 30, 26, 34, 20


def grid_table(grid: Grid) -> Html:
    """The grid; cells in which the target is erased from a prompt that asks for it are outlined."""
    head = el("tr", *(el("th", name, scope="col") for name in grid.columns))
    rows: list[Html] = []
    for row in grid.rows:
        text = el("span", row.prompt, el("small", f"asks for {row.about}"))
        rows.append(el("tr", el("th", text, scope="rowgroup", colspan=len(grid.columns)), class_="group"))
        cells = [_cell(cell, row.prompt, name) for cell, name in zip(row.cells, grid.columns, strict=True)]
        rows.append(el("tr", *cells))
    table = el("table", el("thead", head), el("tbody", *rows), class_="grid")
    return el("div", table, class_="scroll", role="region", aria_label=f"Pictures: {grid.title}", tabindex=0)


def grid_sheet(grid: Grid) -> Image.Image:
    """An RGB image of the grid. Raises ValueError if there is no picture."""
    if not grid.rows:
        raise ValueError("There are no pictures for the grid.")
    across = len(grid.columns) * (CELL + GAP) - GAP
    pitch = TEXT + CELL + LABELS + ROW_GAP
    size = 2 * MARGIN + across, 2 * MARGIN + TEXT + HEAD + len(grid.rows) * pitch - ROW_GAP
    sheet = Image.new("RGB", size, LIGHT["paper"])
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 8), shortened(grid.title, font(20), across), font=font(20), fill=LIGHT["ink"])
    top = MARGIN + TEXT + 8
    for place, name in enumerate(grid.columns):
        draw.text((MARGIN + place * (CELL + GAP), top), shortened(name, font(13), CELL), font=font(13),
                  fill=LIGHT["muted"])  # fmt: skip
    for number, row in enumerate(grid.rows):
        y = top + HEAD + number * pitch
        draw.text((MARGIN, y), shortened(row.prompt, font(14), across), font=font(14), fill=LIGHT["ink"])
        for place, cell in enumerate(row.cells):
            if cell is not None:
                _draw(sheet, draw, cell, MARGIN + place * (CELL + GAP), y + TEXT)
    return sheet


def _draw(sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, x: int, y: int) -> None:
    with Image.open(cell.path) as opened:
        shown = fit_picture(opened.convert("RGB"), CELL)
    sheet.paste(shown, (x + (CELL - shown.width) // 2, y + (CELL - shown.height) // 2))
    if cell.erasing:
        draw.rectangle((x - 3, y - 3, x + CELL + 2, y + CELL + 2), outline=LIGHT["adaptive"], width=2)
    letters = font(12, bold=cell.named)
    colour = LIGHT["ink"] if cell.named else LIGHT["muted"]
    draw.text((x, y + CELL + 5), shortened(cell.seen, letters, CELL), font=letters, fill=colour)
    changed = shortened(", ".join(cell.changed), font(11), CELL)
    draw.text((x, y + CELL + 20), changed, font=font(11), fill=LIGHT["fixed"])


def _cell(cell: Cell | None, prompt: str, column: str) -> Html:
    if cell is None:
        return el("td", DASH)
    source, size = picture(cell.path)
    image = el(
        "img", src=source, width=size[0], height=size[1], class_="small" if max(size) <= SMALL else None,
        alt=f"{column}: {prompt}, judged {cell.seen}", loading="lazy",
    )  # fmt: skip
    caption = [el("span", cell.seen, class_="asked" if cell.named else None)]
    if cell.changed:
        caption.append(el("span", ", ".join(cell.changed), class_="changed"))
    figure = el("figure", image, el("figcaption", *caption))
    return el("td", figure, class_="operating" if cell.erasing else None)
