"""A page of a report as a reader finds it: its words, its elements, and nothing that is left open."""

import re
from html.parser import HTMLParser
from pathlib import Path

# Elements that have no end tag.
VOID = {"img", "br", "meta", "link", "col", "input"}


class HtmlReader(HTMLParser):
    """Collects text and elements of the page at `path`; AssertionError for tags that do not close in order.

    In `text` a space stands between what different elements hold, white space is one space, and a narrow space is "~".
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []
        self.text = re.sub(r"[ \n]+", " ", " ".join(self._words)).replace("\u202f", "~")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self._words.append(data)

    def ids(self) -> list[str]:
        """The id of every element that has one."""
        return [str(attributes["id"]) for _, attributes in self.elements if "id" in attributes]

    def sections(self) -> set[str | None]:
        """The ids of the sections; None where one has none."""
        return {attributes.get("id") for tag, attributes in self.elements if tag == "section"}
