"""The folder of the report: its pages, and beside them pictures/, figures/ (PNG) and data/ (CSV and JSON)."""

import hashlib
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from PIL import Image

from steerwright.report.attention.tables import slug
from steerwright.report.html import figures as drawing
from steerwright.report.html.page import CARD_STYLE, SHOWN, SMALL, Html, el


class ReportFolder(drawing.Attachments):
    """Where parts of pages put what lies beside them; every address that it gives is relative to the pages."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.pictures = Pictures(folder)

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


# What the gallery of features adds to the style of the page of latents.

# Labels are told apart by colour and by name. Three are colours of the theme; two more are needed. The first of each
# pair is drawn in figures and swapped for the variable within the page, as `figures.to_svg` does with the theme's.
LABEL_COLOURS = {
    "season": "adaptive", "object": "fixed", "colour": "prompt", "place": "place", "time": "time",
}  # fmt: skip
MORE = {"place": ("#3d7d4a", "#84c491"), "time": ("#ab4160", "#ec93ac")}


def label_variable(label: str | None) -> str:
    """The style sheet's variable of a label's colour."""
    return LABEL_COLOURS.get(label or "", "unsteered")


def _more(theme: int) -> str:
    return "".join(f"--{name}:{colours[theme]};" for name, colours in MORE.items())


FLUX_STYLE = (
    CARD_STYLE
    + f":root{{{_more(0)}}}@media screen and (prefers-color-scheme:dark){{:root{{{_more(1)}}}}}"
    + Path(__file__).with_name("gallery.css").read_text(encoding="utf-8")
)


# What the pages do when scripts run: tables that sort, and the gallery's controls. Without scripts all is readable.
#
# It is text in a module, not a file beside it, so that a changed script is changed code of the stage. It asks for
# nothing outside the page; the state of the controls is kept in the address, after `#?`, so that a view can be passed
# on.

SCRIPT = Path(__file__).with_name("gallery.js").read_text(encoding="utf-8")


# The pictures of the report: small ones byte for byte, large ones reduced, each kept once whatever it is called.

FOLDER = "pictures"


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of the report: its address relative to the pages, and its size in pixels."""

    source: str
    width: int
    height: int

    @property
    def small(self) -> bool:
        """Whether it is shown without smoothing."""
        return max(self.width, self.height) <= SMALL


class Pictures:
    """Copies pictures into FOLDER of `folder`; a name is the file's own and the digest of what it holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[Path, Shown | None] = {}
        self._by_content: dict[str, Shown] = {}

    def shown(self, path: Path | None) -> Shown | None:
        """The picture at `path` in the report, None if it is not there. Larger ones are WebP of at most SHOWN."""
        if path is None:
            return None
        if path not in self._known:
            self._known[path] = self._take(path) if path.is_file() else None
        return self._known[path]

    def image(self, path: Path | None, alt: str, missing: str = "no picture", kind: str = "") -> Html:
        """An <img> of the class `kind`, loaded when it is scrolled to, or a box with the words `missing`."""
        found = self.shown(path)
        if found is None:
            return el("span", missing, class_="missing")
        return el(
            "img", src=found.source, width=found.width, height=found.height, alt=alt, loading="lazy",
            class_=" ".join(name for name in (kind, "small" if found.small else "") if name) or None,
        )  # fmt: skip

    def _take(self, path: Path) -> Shown:
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._by_content:
            with Image.open(io.BytesIO(content)) as opened:
                size, suffix = opened.size, path.suffix
                if max(size) > SMALL:
                    content, size = _reduced(opened)
                    suffix = ".webp"
            name = f"{slug(path.stem)}-{digest[:10]}{suffix}"
            partial = self.folder / f"{name}.partial"
            partial.write_bytes(content)
            os.replace(partial, self.folder / name)
            self._by_content[digest] = Shown(f"{FOLDER}/{name}", *size)
        return self._by_content[digest]


def _reduced(picture: Image.Image) -> tuple[bytes, tuple[int, int]]:
    small = picture.convert("RGB")
    small.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=82, method=4)
    return out.getvalue(), small.size
