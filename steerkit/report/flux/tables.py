"""Tables that can be sorted by any column, with what each number means under its name."""

from collections.abc import Sequence
from dataclasses import dataclass

from steerkit.report.html import Html, el
from steerkit.report.theme import DASH


@dataclass(frozen=True, slots=True)
class Head:
    """A column: its name, what its numbers mean and their unit, and whether they are numbers."""

    name: str
    words: str = ""
    number: bool = True


def cell(
    shown: str, value: float | str | None = None, small: str = "", number: bool = True, wrap: bool = False
) -> Html:
    """A cell; `value` is what it is sorted by (nothing sorts last), `small` stands below."""
    kind = "n" if number else "wrap" if wrap else None
    parts = [shown, el("small", small)] if small else [shown]
    return el("td", *parts, class_=kind, data_v="" if value is None else f"{value}")


def nothing(number: bool = True) -> Html:
    """The cell of a number that is not known."""
    return cell(DASH, None, number=number)


def row_head(shown: Html | str, value: float | str) -> Html:
    """The head of a row, with what it is sorted by."""
    return el("th", shown, scope="row", data_v=f"{value}")


def sortable(label: str, heads: Sequence[Head], rows: Sequence[Html], caption: str = "") -> Html:
    """The table, which scrolls within itself on a narrow screen and can be scrolled by keyboard."""
    top = [
        el("th", el("span", head.name), el("small", head.words) if head.words else "", scope="col",
           class_="n" if head.number else None, data_name=head.name)
        for head in heads
    ]  # fmt: skip
    said = [el("caption", caption)] if caption else []
    table = el("table", *said, el("thead", el("tr", *top)), el("tbody", *rows), class_="wide sortable")
    return el("div", table, class_="scroll", role="region", aria_label=label, tabindex=0)


def share_bar(value: float | None) -> Html:
    """A small bar as wide as a share."""
    width = 0.0 if value is None else min(max(value, 0.0), 1.0)
    return el("span", el("span", style=f"width:{100 * width:.1f}%"), class_="share", aria_hidden="true")
