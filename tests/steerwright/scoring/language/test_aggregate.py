"""Rates and perplexity ratios of conditions, from planted scored texts; expected values are worked by hand."""

import math
from typing import Any

import polars as pl
import pytest

from steerwright.scoring.language.aggregate import aggregate, flat_metrics, mix_table
from steerwright.stats.bootstrap import Bootstrap

BOOTSTRAP = Bootstrap(resamples=500, seed=1)


def rows(
    condition: str, concept: str | None, happy: list[float], nll: list[float], decoding: str = "greedy", **more: Any
) -> pl.DataFrame:
    """A text for each of the prompts 0, 1, ... with its probability of happy and its mean negative log-likelihood."""
    found = [
        {
            "condition": condition, "concept": concept, "decoding": decoding, "prompt_id": f"test-{number}", "seed": 17,
            "text": f"one two{number}", "nll": cost, "kl": 0.5 if concept else 0.0, "repeated": 0.0,
            "p_happy": happy[number], "p_sad": more.get("sad", [0.1] * 9)[number],
        }
        for number, cost in enumerate(nll)
    ]  # fmt: skip
    return pl.DataFrame(found, schema_overrides={"concept": pl.String})


SCORED = pl.concat(
    [
        rows("unsteered", None, [0.9, 0.1, 0.1, 0.1], [1.0, 2.0, 3.0, 4.0]),
        rows("unsteered", None, [0.1, 0.1, 0.1, 0.1], [0.0, 0.0, 0.0, 0.0], "sampled"),
        rows("steered", "happy", [0.9, 0.9, 0.9, 0.1], [1.5, 2.5, 3.5, 4.5]),
        rows("steered", "happy", [0.9, 0.9, 0.1, 0.1], [1.0, 1.0, 1.0, 1.0], "sampled"),
        rows("asked", "happy", [0.9, 0.9, 0.9, 0.9], [2.0, 2.0, 2.0, 2.0]),
        rows("removed", "happy", [0.1, 0.1, 0.1, 0.9], [2.0, 2.0, 2.0, 2.4]),
        rows("steered", "sad", [0.9, 0.9, 0.9, 0.9], [9.0, 9.0, 9.0, 9.0], sad=[0.9, 0.1, 0.1, 0.1]),
        rows("mix", "happy:0.7,sad:0.3", [0.9, 0.9, 0.9, 0.1], [1.0, 2.0, 3.0, 4.4], sad=[0.1, 0.9, 0.9, 0.9]),
    ]
)  # fmt: skip


def row(scores: pl.DataFrame, **key: str) -> dict[str, Any]:
    (found,) = scores.filter(**key).to_dicts()
    return found


def test_each_condition_is_compared_with_the_unsteered_texts_of_its_own_prompts_and_decoding() -> None:
    scores = aggregate(SCORED, ["happy", "sad"], BOOTSTRAP)
    unsteered = row(scores, concept="happy", condition="unsteered", decoding="greedy")
    assert (unsteered["rate"], unsteered["ratio"], unsteered["kl"], unsteered["texts"]) == (0.25, 1.0, 0.0, 4)
    steered = row(scores, concept="happy", condition="steered", decoding="greedy")
    assert steered["rate"] == 0.75 and steered["perplexity"] == pytest.approx(math.exp(3.0))
    # Every text became less likely by 0.5 nats: no spread over prompts.
    assert steered["ratio"] == steered["ratio_low"] == steered["ratio_high"] == pytest.approx(math.exp(0.5))
    sampled = row(scores, concept="happy", condition="steered", decoding="sampled")
    assert sampled["rate"] == 0.5 and sampled["ratio"] == pytest.approx(math.e)


def test_removal_is_compared_with_the_texts_that_were_asked_for_the_concept() -> None:
    scores = aggregate(SCORED, ["happy"], BOOTSTRAP)
    removed = row(scores, concept="happy", condition="removed", decoding="greedy")
    assert removed["rate"] == 0.25 and removed["ratio"] == pytest.approx(math.exp(0.1))
    assert removed["ratio_low"] == pytest.approx(1.0) and removed["ratio_high"] > math.exp(0.1)


def test_a_concept_is_scored_on_its_own_texts_and_mixes_are_none_of_them() -> None:
    scores = aggregate(SCORED, ["happy", "sad"], BOOTSTRAP)
    assert set(scores.filter(concept="sad")["condition"]) == {"unsteered", "steered"}
    assert row(scores, concept="sad", condition="steered", decoding="greedy")["rate"] == 0.25
    assert row(scores, concept="sad", condition="unsteered", decoding="greedy")["rate"] == 0.0
    assert "mix" not in set(scores["condition"])


def test_distinct_n_is_over_all_texts_of_a_condition() -> None:
    # "one two0", "one two1", ...: 5 distinct words of 8, 4 pairs of 4.
    found = row(aggregate(SCORED, ["happy"], BOOTSTRAP), concept="happy", condition="asked", decoding="greedy")
    assert (found["distinct_1"], found["distinct_2"]) == (5 / 8, 1.0)


def test_a_mix_says_how_often_each_part_and_how_often_all_of_them_came() -> None:
    table = mix_table(SCORED, {"happy:0.7,sad:0.3": {"happy": 0.7, "sad": 0.3}}, BOOTSTRAP)
    happy, sad = table.to_dicts()
    assert (happy["part"], happy["weight"], happy["rate"], happy["unsteered"]) == ("happy", 0.7, 0.75, 0.25)
    assert (sad["part"], sad["weight"], sad["rate"], sad["unsteered"]) == ("sad", 0.3, 0.75, 0.0)
    assert happy["both"] == sad["both"] == 0.5
    assert happy["ratio"] == pytest.approx(math.exp(0.1))
    assert mix_table(SCORED, {}, BOOTSTRAP).is_empty()


def test_metrics_have_the_rates_of_all_conditions_by_decoding_and_concept() -> None:
    found = flat_metrics(aggregate(SCORED, ["happy"], BOOTSTRAP))
    assert found["greedy"]["happy"] == {
        "unsteered": 0.25, "steered": 0.75, "perplexity_ratio": pytest.approx(math.exp(0.5)), "asked": 1.0,
        "removed": 0.25,
    }  # fmt: skip
