"""What lies beside the page: figures/ (PNG) and data/ (CSV), with links to them that are relative to the page."""

from pathlib import Path

import polars as pl

from steerkit.report import figures as drawing
from steerkit.report.html import Html, el, join
from steerkit.report.parts import figure


class Beside:
    """Writes tables and figures into the folder of the report, and gives what the page shows of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("data", "figures"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def table(self, name: str, table: pl.DataFrame) -> Html:
        """Write data/NAME.csv and return a link to it; lists become words with spaces between them."""
        lists = [column for column, kind in table.schema.items() if isinstance(kind, pl.List)]
        flat = table.with_columns(pl.col(column).list.eval(pl.element().cast(pl.String)).list.join(" ")
                                  for column in lists)  # fmt: skip
        flat.write_csv(self.folder / "data" / f"{name}.csv", float_precision=6)
        return el("a", f"{name}.csv", href=f"data/{name}.csv", download=True)

    def figure(
        self, name: str, drawn: tuple[drawing.Draw, float], numbers: Html, title: str, caption: str
    ) -> Html:  # fmt: skip
        """Write figures/NAME.png and return the figure for the page.

        `numbers`: the link of `table` to what is drawn; `title` stands above and is read aloud.
        """
        drawing.save_png(drawn, self.folder / "figures" / f"{name}.png")
        links = join([numbers, el("a", f"{name}.png", href=f"figures/{name}.png", download=True)], " ")
        shown = figure(drawing.to_svg(drawn, name), f"{title}. {caption}".strip(". "), caption, links)
        return el("div", el("h3", title), shown) if title else shown
