"""A labelled grid as a table of the page."""

from steerkit.report.flux.pictures import Pictures
from steerkit.report.html import Html, el
from steerkit.report.labelled_grid import GridCell, LabelledGrid, signed


def grid_table(grid: LabelledGrid, pictures: Pictures) -> Html:
    """Prompts down, strengths across; a cell without a picture says why."""
    names = [signed(strength) if strength else "unsteered" for strength in grid.strengths]
    head = el("tr", *(el("th", name, scope="col") for name in names))
    rows: list[Html] = []
    for row in grid.rows:
        text = el("span", row.prompt, el("small", f"seed {row.seed}"))
        rows.append(el("tr", el("th", text, scope="rowgroup", colspan=len(names)), class_="group"))
        cells = [
            _cell(cell, pictures, f"{row.prompt}, {name}", strength)
            for cell, name, strength in zip(row.cells, names, grid.strengths, strict=True)
        ]
        rows.append(el("tr", *cells))
    table = el("table", el("thead", head), el("tbody", *rows), class_="grid")
    return el("div", table, class_="scroll", role="region", aria_label=f"Pictures: {grid.title}", tabindex=0)


def _cell(cell: GridCell, pictures: Pictures, alt: str, strength: float) -> Html:
    seen = ", ".join(cell.seen)
    shown = pictures.image(cell.path, f"{alt}, judged {seen}" if seen else alt, cell.missing)
    caption = [el("span", seen, class_="shows" if cell.shows else None)]
    if cell.changed:
        caption.append(el("span", ", ".join(cell.changed), class_="changed"))
    return el("td", el("figure", shown, el("figcaption", *caption)), class_=None if strength else "unsteered")
