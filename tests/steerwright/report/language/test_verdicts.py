"""Which concepts came as hoped, and the sentences that say so."""

import re
from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from steerwright.report.language.content import Bars, LanguageContent
from steerwright.report.language.words import PRESENT, headlines, missed, numbers, point_words, reached, verdicts

Make = Callable[..., LanguageContent]
CLOSE = {("happy", "unsteered"): 0.2, ("happy", "random"): 0.3}


def with_ratio(content: LanguageContent, concept: str, ratio: float) -> LanguageContent:
    wanted = (pl.col("concept") == concept) & (pl.col("condition") == "steered") & (pl.col("decoding") == "sampled")
    table = content.aggregate.with_columns(pl.when(wanted).then(ratio).otherwise("ratio").alias("ratio"))
    return replace(content, aggregate=table)


@pytest.mark.parametrize(
    ("condition", "rate", "met"),
    [("steered", 0.8, True), ("steered", 0.79, False), ("unsteered", 0.3, True), ("unsteered", 0.31, False),
     ("random", 0.3, True), ("random", 0.31, False)],
)  # fmt: skip
def test_a_concept_is_met_up_to_the_bar_and_not_beyond(make: Make, condition: str, rate: float, met: bool) -> None:
    content = make(rates=CLOSE | {("happy", condition): rate})
    assert reached(content) == {"happy": met, "sad": True, "pirate": True, "brief": True}


@pytest.mark.parametrize(("ratio", "met"), [(2.0, True), (2.01, False)])
def test_one_way_of_decoding_that_costs_too_much_is_enough_to_miss(
    content: LanguageContent, ratio: float, met: bool
) -> None:
    found = with_ratio(content, "sad", ratio)
    assert reached(found)["sad"] == met
    assert [one.met for one in verdicts(found) if one.concept == "sad"] == [met, True]
    said = "sampled and greedy alike (4 sampled and 4 greedy)" if met else "alike (3 sampled and 4 greedy)"
    assert said in headlines(found)[0].sentence


def test_what_was_missed_is_said_once_or_by_decoding(make: Make) -> None:
    content = with_ratio(make(rates={("brief", "steered"): 0.61, ("brief", "random"): 0.4}), "sad", 2.5)
    assert missed(content).replace("\u202f", "~") == (
        "sad (sampled: perplexity 2.50\u00d7); brief (61~% of steered texts, 40~% with a random direction)"
    )
    assert missed(make()) == ""


def test_the_headlines_are_means_over_concepts_and_say_whether_enough_came(make: Make) -> None:
    content = with_ratio(make(rates={("brief", "steered"): 0.56, ("brief", "unsteered"): 0.26}), "brief", 1.9)
    first, rate, ratio, mixes, removed = headlines(replace(content, bars=Bars(concepts=3)))
    assert (first.number, first.bar, first.met) == ("3 of 4", "at least 3 concepts", True)
    # (3 * 96 + 56) / 4 and (3 * 6 + 26) / 4
    assert rate.number == "86\u202f%" and "11\u202f% unsteered" in rate.sentence
    # 1.30, 1.31, 1.32 and the mean of 1.90 and 1.33, which is 1.615: the median is 1.315.
    assert ratio.number in ("1.31\u00d7", "1.32\u00d7")
    assert re.search("from 1.30\u00d7 for happy to 1.6[12]\u00d7 for brief", ratio.sentence)
    assert mixes.number == "71\u202f%" and removed.number == "15\u202f%" and "97\u202f% without" in removed.sentence
    # With fewer concepts than are hoped for there is no answer.
    assert headlines(content)[0].met is None


def test_numbers_are_those_of_the_headlines(make: Make) -> None:
    found = numbers(make(rates={("brief", "steered"): 0.56}))
    assert found == {
        "concepts": 4, "concepts_as_hoped": 3, "concepts_as_hoped_sampled": 3, "concepts_as_hoped_greedy": 3,
        "rate_steered": pytest.approx(0.86), "rate_unsteered": 0.06, "rate_random": 0.08, "rate_instruction": 0.98,
        "rate_removed": 0.15, "perplexity_ratio": 1.315, "mixes_added_show_all": 0.71,
    }  # fmt: skip


def test_mixes_are_no_concepts_and_factors_give_the_order(make: Make) -> None:
    content = make()
    assert content.concepts == ["happy", "sad", "pirate", "brief"]
    assert any(":" in name for name in content.chosen)
    turned = replace(content, factors={"brief": "length", "sad": "emotion", "pirate": "", "happy": "emotion"})
    assert turned.groups() == {"length": ["brief"], "emotion": ["sad", "happy"], "": ["pirate"]}


def test_an_operating_point_in_words_leaves_out_what_is_not_known() -> None:
    whole = {"layer": 4, "strength": 0.8, "units": "relative", "safe": [0.0, 1.2]}
    assert point_words(whole) == "layer 4, strength 0.8 of each token's norm, safe up to 1.2"
    assert point_words({"layer": 0, "strength": 2.0}) == "layer 0, strength 2"
    assert point_words({}) == ""


def test_the_page_marks_what_the_judge_counts() -> None:
    from steerwright.scoring.language import fluency as text_table

    assert PRESENT == text_table.PRESENT
