"""What mkdocs does to a page beyond Markdown: a figure stays on one line with its unit and its interval."""

import re
from typing import Any

_CELL = re.compile(r"<td.*?</td>", re.S)
_BREAKS = re.compile(r"(?<=\d) (?=%)|(?<=\d,) (?=[\d∞]+(?:\.\d+)?\])")


def on_page_content(html: str, **_: Any) -> str:
    """`html` with spaces that do not break in the figures of its tables: `57.2 %`, `[40.9, 73.1]`."""
    return _CELL.sub(lambda cell: _BREAKS.sub("\N{NO-BREAK SPACE}", cell[0]), html)
