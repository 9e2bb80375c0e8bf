"""Numbers in words: rounding, signs, and what is said when nothing can be said."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from seasons.label_set import SEASONS_WORLD
from steerwright.report.html.page import Html, el, join
from steerwright.report.html.theme import decimal, percent, span
from steerwright.report.html.words import counts, headlines
from steerwright.report.winter.content import ReportContent
from steerwright.report.winter.page import write_report
from steerwright.scoring.target import parse_target
from steerwright.scoring.winter import score_winter
from steerwright.stats.bootstrap import Bootstrap


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


def test_headlines_tables_and_columns_follow_the_concept(
    make_content: Callable[..., ReportContent], tmp_path: Path
) -> None:
    content = make_content()
    # The same pictures, asked whether they show summer at day: what is not winter is summer, and all are at day.
    both = parse_target(["summer", "day"], {}, SEASONS_WORLD)
    measured = content.scores.images.select(
        "prompt_id", "seed", "condition", "season", "object", "colour", "place", "time", "prompt_similarity", "lpips",
        pl.col("winter_similarity").alias("summer_day_similarity"), pl.col("winter_margin").alias("summer_day_margin"),
    )  # fmt: skip
    prompts = content.prompts.with_columns(
        pl.lit(None, dtype=pl.String).alias(label) for label in ("object", "colour", "place")
    )
    scores = score_winter(measured, prompts, both, Bootstrap(50))
    changed = replace(content, title="Towards summer", scores=scores, search=content.search.drop("winter_rate"))
    first, *_, last = headlines(changed.scores)
    assert first.sentence.startswith("of outdoor pictures show summer and day with adaptive steering")
    assert first.number == "0\u202f%" and "100\u202f% without steering" in first.sentence
    assert "change season or time when" in last.sentence
    page = write_report(tmp_path, changed).read_text()
    assert "Summer and day by condition" in page and "“in summer at noon”" in page
    assert "Share of pictures whose season or time changed" in page and "object, colour and place" in page
    shown = re.sub(r"data:[^\"]*", "", page)
    assert "in winter" not in shown and "Winter" not in shown
    assert {"summer-day-rate.csv", "summer-day-rate.png"} <= {path.name for path in tmp_path.iterdir()}
    assert "season_time_fixed" in (tmp_path / "contact-sheet.csv").read_text()
    assert "summer, day" in (tmp_path / "contact-sheet.csv").read_text()
