"""Small pieces of HTML that the tabs share; every word that comes from a visitor or a model is escaped here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_LONG = 36  # characters from which on a cell is a text that wants some width, also on a phone


def lead(title: str, *paragraphs: str) -> str:
    """A tab's heading and what it is for; the words are ours, so they may hold markup."""
    return f'<div class="lead"><h2>{title}</h2>{"".join(f"<p>{text}</p>" for text in paragraphs)}</div>'


def progress(share: float | None, words: str = "", say: str | None = None) -> str:
    """A thin bar and a few words beside it; without a share nothing but the words.

    In a `status_line`, screen readers say the words, or `say` where it is given: an answer that stands elsewhere.
    """
    told = html.escape(words if say is None else " ".join(say.split()))
    if share is None:
        return f'<div class="lab-progress" data-say="{told}">{html.escape(words)}</div>'
    percent = round(100 * min(max(share, 0.0), 1.0))
    bar = (
        f'<i role="progressbar" aria-label="{html.escape(words) or "Progress"}" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}"><b style="width:{percent}%"></b></i>'
    )
    return f'<div class="lab-progress" data-say="{told}">{bar}{html.escape(words)}</div>'


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = (), chosen: Iterable[int] = ()
) -> str:
    """A table; the columns of `numbers` are set to the right, the rows of `chosen` stand out."""
    right, bold = set(numbers), set(chosen)

    def cell(tag: str, column: int, text: str) -> str:
        looks = " class=n" if column in right else " class=t" if len(text) > _LONG else ""
        return f"<{tag}{looks}>{html.escape(text)}</{tag}>"

    head = "".join(cell("th", column, text) for column, text in enumerate(header))
    body = "".join(
        f"<tr{' class=chosen' if index in bold else ''}>"
        + "".join(cell("td", column, text) for column, text in enumerate(row))
        + "</tr>"
        for index, row in enumerate(rows)
    )
    return f'<div class="lab-table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
