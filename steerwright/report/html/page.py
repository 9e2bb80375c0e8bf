"""Writing HTML without ever forgetting to escape: text is escaped, only `Html` is taken as it is."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from steerwright.report.html.theme import DARK, DASH, LIGHT
from steerwright.report.provenance import RunProvenance, flatten

if TYPE_CHECKING:
    import polars as pl


class Html(str):
    """Markup that is already safe."""

    __slots__ = ()


def el(tag: str, *children: str, **attributes: str | int | float | bool | None) -> Html:
    """An element; `class_` is class, `aria_label` is aria-label, True is a bare attribute, None and False are none."""
    parts = [tag]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(name)
        elif value is not None and value is not False:
            parts.append(f'{name}="{html.escape(str(value))}"')
    opened = f"<{' '.join(parts)}>"
    return Html(opened) if tag in ("img", "br", "meta", "col") else Html(f"{opened}{join(children)}</{tag}>")


def join(parts: tuple[str, ...] | list[str], separator: str = "") -> Html:
    """Parts one after the other, each escaped unless it is `Html`."""
    return Html(separator.join(part if isinstance(part, Html) else html.escape(part, quote=False) for part in parts))


# What every page is made of: the document around it, pictures and files within it, figures with their captions.

# Pictures up to this side go into the page as they are; larger ones as WebP of at most the shown size.
SMALL, SHOWN = 128, 384
NO_ICON = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"


def document(title: str, body: list[Html], style: str = "") -> str:
    """A whole page that asks for nothing outside itself; `style` comes after the common style sheet."""
    head = el(
        "head", el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", title), Html(f'<link rel="icon" href="{NO_ICON}">'), el("style", Html(STYLE_SHEET + style)),
    )  # fmt: skip
    return "<!doctype html>\n" + el("html", head, el("body", el("main", *body)), lang="en") + "\n"


def section(name: str, title: str, *content: Html) -> Html:
    """A section with its heading, and `name` as the target of links."""
    return el("section", el("h2", title), *content, id=name)


def figure(svg: str, label: str, caption: str, link: Html) -> Html:
    """A drawn figure; `label` is what a screen reader says, `link` leads to its numbers."""
    drawn = el("div", Html(svg), role="img", aria_label=label)
    return el("figure", drawn, el("figcaption", caption, " ", el("span", link, class_="data")))


def download(name: str, table: pl.DataFrame) -> Html:
    """A link that holds `table` as the file NAME.csv."""
    content = table.write_csv(float_precision=6).encode()
    return el("a", f"{name}.csv", download=f"{name}.csv", href=data_uri("text/csv;charset=utf-8", content))


def picture(path: Path) -> tuple[str, tuple[int, int]]:
    """A data URI and the size in pixels of what it holds."""
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as opened:
        size = opened.size
        if max(size) <= SMALL:
            return data_uri("image/png", content), size
        reduced = opened.convert("RGB")
    reduced.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    reduced.save(out, "WEBP", quality=82, method=4)
    return data_uri("image/webp", out.getvalue()), reduced.size


def data_uri(kind: str, content: bytes) -> str:
    """`content` as an address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


# The page's style sheet: quiet, readable on a phone, light and dark, and on paper.


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


STYLE_SHEET = (
    f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
    + Path(__file__).with_name("page.css").read_text(encoding="utf-8")
)

GRID_STYLE = Path(__file__).with_name("grids.css").read_text(encoding="utf-8")
"""What pages with grids of pictures add."""

CARD_STYLE = GRID_STYLE + Path(__file__).with_name("cards.css").read_text(encoding="utf-8")
"""What pages with cards of latents add."""


# What tables and lists of facts are made of.


def verdict(met: bool | None) -> Html:
    """`yes`, `no`, or a dash."""
    if met is None:
        return Html(DASH)
    return el("span", "yes" if met else "no", class_=f"verdict {'yes' if met else 'no'}")


def sources(source: RunProvenance) -> Html:
    """Provenance as lists of pairs, for any page."""
    lists = [
        ("Parameters", flatten(source.params)),
        ("Hashes", dict(source.hashes)),
        ("Versions", dict(source.versions)),
    ]
    shown = [join([el("h3", title), pairs(values)]) for title, values in lists if values]
    first = [pairs(dict(source.facts))] if source.facts else []
    return join([*first, el("div", *(el("div", part) for part in shown), class_="columns")])


def pairs(values: dict[str, str]) -> Html:
    """A list of names and values."""
    return el("dl", *(join([el("dt", key), el("dd", value)]) for key, value in values.items()), class_="pairs")


def scrolling(label: str, head: Sequence[Html], rows: Sequence[Html], wide: bool = True) -> Html:
    """A table that scrolls within itself on a narrow screen, and can be scrolled by keyboard."""
    table = el("table", el("thead", *head), el("tbody", *rows), class_="wide" if wide else None)
    return el("div", table, class_="scroll", role="region", aria_label=label, tabindex=0)


def picture_table(title: str, head: Sequence[Html], rows: Iterable[tuple[Html, Sequence[Html]]], columns: int) -> Html:
    """The grid as a table: a line of text above each row of cells."""
    body: list[Html] = []
    for text, cells in rows:
        body.append(el("tr", el("th", text, scope="rowgroup", colspan=columns), class_="group"))
        body.append(el("tr", *cells))
    table = el("table", el("thead", *head), el("tbody", *body), class_="grid")
    return el("div", table, class_="scroll", role="region", aria_label=f"Pictures: {title}", tabindex=0)


def picture_cell(
    image: Html, seen: str, changed: Sequence[str], *, shows: str | None = None, class_: str | None = None
) -> Html:
    """A cell of it; `shows` is the class of the seen value, where the picture shows the concept."""
    caption = [el("span", seen, class_=shows)]
    if changed:
        caption.append(el("span", ", ".join(changed), class_="changed"))
    return el("td", el("figure", image, el("figcaption", *caption)), class_=class_)


def small_picture(path: Path, alt: str) -> Html:
    """A picture within the page, at its own size where it is small."""
    source, size = picture(path)
    return el(
        "img", src=source, width=size[0], height=size[1], class_="small" if max(size) <= SMALL else None, alt=alt,
        loading="lazy",
    )  # fmt: skip
