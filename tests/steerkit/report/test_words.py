"""Numbers in words: rounding, signs, and what is said when nothing can be said."""

import math
from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from steerkit.report.content import ReportContent
from steerkit.report.html import Html, el, join
from steerkit.report.theme import decimal, percent, span
from steerkit.report.words import counts, headlines


@pytest.mark.parametrize(
    ("value", "signed", "expected"),
    [
        (0.943, False, "94 %"), (0.4, True, "+40 %"), (-0.126, True, "\u221213 %"), (0.001, True, "0 %"),
        (-0.001, True, "0 %"), (math.nan, False, "\u2013"), (math.inf, False, "∞"), (None, False, "\u2013"),
    ],
)  # fmt: skip
def test_percentages(value: float | None, signed: bool, expected: str) -> None:
    assert percent(value, signed).replace("\u202f", " ") == expected


def test_spans_and_decimals() -> None:
    assert span(0.887, 0.98).replace("\u202f", " ") == "89 to 98 %"
    assert span(1.0, 1.0).replace("\u202f", " ") == "100 %"
    assert span(-0.02, 0.08, signed=True).replace("\u202f", " ") == "\u22122 to +8 %"
    assert decimal(-0.12345) == "\u22120.123" and decimal(math.nan) == "\u2013"


def test_text_is_escaped_unless_it_is_markup() -> None:
    assert el("p", "a < b", el("b", "&"), title='"x"') == '<p title="&quot;x&quot;">a &lt; b<b>&amp;</b></p>'
    assert el("img", alt="", hidden=True, width=None) == '<img alt="" hidden>'
    assert join(["<", Html("<br>")]) == "&lt;<br>"


def test_headlines_say_what_the_comparisons_hold(make_content: Callable[..., ReportContent]) -> None:
    scores = make_content().scores
    winter, kept, adaptive, random = headlines(scores)
    assert (winter.number, winter.met) == ("100\u202f%", True)
    assert (kept.number, kept.met) == ("100\u202f%", True)
    assert "object (100\u202f%) and place (100\u202f%)" in kept.sentence  # no prompt names a time
    # Prompt 0: adaptive is winter on two seeds, fixed on one; labels never change. One prompt does not tell.
    assert (adaptive.number, adaptive.met) == ("+100\u202f%", False)
    assert (
        adaptive.sentence.count("no clear difference") == 2 and "fidelity 0\u202f% (0\u202f%, no" in adaptive.sentence
    )
    assert (random.number, random.met) == ("0\u202f%", True)
    assert counts(scores) == "3 prompts, 2 seeds each, 5 conditions: 30 pictures"


def test_undefined_answers_are_dashes_without_a_verdict(make_content: Callable[..., ReportContent]) -> None:
    scores = make_content().scores
    undefined = scores.comparisons.with_columns(
        pl.lit(math.nan).alias(column) for column in ("estimate", "low", "high")
    ).with_columns(pl.lit(None, dtype=pl.Boolean).alias("met"))
    assert {(h.number, h.met) for h in headlines(replace(scores, comparisons=undefined))} == {("\u2013", None)}
