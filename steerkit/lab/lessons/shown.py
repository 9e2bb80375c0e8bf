"""What lessons show beside their drawings: a few answers, and shares as bars."""

from __future__ import annotations

from collections.abc import Sequence

from steerkit.lab.lessons.experiment import Answers, Share
from steerkit.report.html import Html, el


def quotes(title: str, answers: Answers, count: int = 3) -> Html:
    """The first `count` answers with what they answer."""
    rows = []
    for one in answers.completions[:count]:
        text = one.text.strip() or "(nothing)"
        rows.append(el("li", el("span", one.prompt), el("q", text)))
    return el("div", el("h4", title), el("ul", *rows), class_="lesson-quotes")


def bars(title: str, rows: Sequence[tuple[str, Share, str]], caption: str = "") -> Html:
    """One bar for each (name, share, colour), with its interval; colours as of the charts' series."""
    drawn = []
    for name, share, colour in rows:
        low, high = share.interval
        bar = el(
            "div",
            el("i", style=f"width:{100 * share.rate:.1f}%"),
            el("b", style=f"left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"),
            class_=f"bar {colour}",
            title=f"{100 * share.rate:.0f} %, 95 % interval {100 * low:.0f} to {100 * high:.0f} %",
        )
        drawn.append(el("div", el("span", name), bar, el("em", f"{100 * share.rate:.0f} % ({share})"), class_="row"))
    below = [el("figcaption", caption)] if caption else []
    return el("figure", el("h4", title), *drawn, *below, class_="lab-chart lesson-bars")


def percent(value: float) -> str:
    """0.934 as 93 %."""
    return f"{100 * value:.0f}\u202f%"


def times(value: float) -> str:
    """1.234 as 1.23 times; without decimals from a hundred on."""
    return f"{value:.0f} times" if value >= 100 else f"{value:.3g} times"
