"""The summary of a comparison of two layers (`features.matching.match_summary`), in words and with its chance level."""

from collections.abc import Mapping
from typing import Any

from steerkit.report.flux.words import said, whole
from steerkit.report.html import Html, el
from steerkit.report.latents.tables import listed
from steerkit.report.tables import scrolling
from steerkit.report.theme import DASH, decimal, percent

KNOWN = ("a", "b", "pairs", "correlation", "share_above", "chance", "chance_high", "share_above_chance")


def comparison_parts(summary: Mapping[str, Any]) -> list[Html]:
    """A table of what matched beside what matches by chance; what else the summary says is listed as it stands."""
    chance = summary.get("chance") or {}
    rows = []
    if summary.get("correlation") is not None:
        name = f"Mean correlation of the {whole(summary.get('pairs', 0))} pairs"
        rows.append(_row(name, "", decimal(summary["correlation"], 2), decimal(chance.get("correlation"), 2)))
    for bar, share in (summary.get("share_above") or {}).items():
        by_chance = (chance.get("share_above") or {}).get(bar)
        words = "of the alive latents of the smaller dictionary"
        rows.append(_row(f"Matched at {bar} and more", words, percent(share), percent(by_chance)))
    if summary.get("share_above_chance") is not None:
        name = f"Pairs above {decimal(summary['chance_high'], 2)}"
        rows.append(_row(name, "which 5 % of chance pairs exceed", percent(summary["share_above_chance"]), "5 %"))
    found = []
    if rows:
        chance_head = el("th", "By chance", el("small", "pictures of one layer shuffled"), scope="col", class_="n")
        top = el("tr", el("th", "Matching", scope="col"), el("th", "Found", scope="col", class_="n"), chance_head)
        found.append(scrolling("What matched", [top], rows, wide=False))
    rest = [
        (str(key).replace("_", " ").capitalize(), said(value)) for key, value in summary.items() if key not in KNOWN
    ]
    return [*found, listed(rest)] if rest else found


def _row(name: str, words: str, found: str, by_chance: str) -> Html:
    head = el("th", name, el("small", words) if words else "", scope="row")
    return el("tr", head, el("td", found, class_="n"), el("td", by_chance or DASH, class_="n"))
