"""The folder of the report: its pages, and beside them pictures/, figures/ (PNG) and data/ (CSV and JSON)."""

import re
from pathlib import Path

import polars as pl

from steerwright.report.flux.assets import MORE
from steerwright.report.flux.pictures import Pictures
from steerwright.report.html import figures as drawing
from steerwright.report.html.page import Html, el


class ReportFolder:
    """Where parts of pages put what lies beside them; every address that it gives is relative to the pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures = Pictures(folder)
        for name in ("data", "figures"):
            (folder / name).mkdir(exist_ok=True)

    def table(self, name: str, table: pl.DataFrame) -> Html:
        """Write data/NAME.csv and return a link to it; lists become words with spaces between them."""
        lists = [column for column, kind in table.schema.items() if isinstance(kind, pl.List)]
        flat = table.with_columns(pl.col(column).list.eval(pl.element().cast(pl.String)).list.join(" ")
                                  for column in lists)  # fmt: skip
        flat.write_csv(self.folder / "data" / f"{name}.csv", float_precision=6)
        return el("a", f"{name}.csv", href=f"data/{name}.csv", download=True)

    def figure(
        self, name: str, drawn: tuple[drawing.Draw, float], table: pl.DataFrame, label: str, caption: str,
        linked: bool = False,
    ) -> Html:  # fmt: skip
        """Write figures/NAME.png and data/NAME.csv, and return the figure for the page.

        `label` is what a screen reader says; a `linked` figure holds links, so that it is a group and no image.
        """
        drawing.save_png(drawn, self.folder / "figures" / f"{name}.png")
        svg = drawing.to_svg(drawn, name)
        for variable, (light, _) in MORE.items():
            svg = svg.replace(light, f"var(--{variable})")
        if linked:
            # Matplotlib's links open a new window and have no name for those who cannot see the mark.
            svg = svg.replace(' aria-hidden="true"', "", 1).replace(' target="_blank"', "")
            svg = re.sub(r'<a xlink:href="[^"#]*#([\w-]+)"', r'\g<0> aria-label="\1"', svg)
        shown = el("div", Html(svg), role="group" if linked else "img", aria_label=label)
        links = el("span", self.table(name, table), " ",
                   el("a", f"{name}.png", href=f"figures/{name}.png", download=True), class_="data")  # fmt: skip
        return el("figure", shown, el("figcaption", caption, " ", links))
