"""Which point of a sweep is chosen and how far strength is safe, from planted texts whose scores are known by hand."""

import math
from typing import Any

import polars as pl
import pytest

from steerwright.stats.bootstrap import Bootstrap
from tasks.language.choice import Limits, chosen_points, sweep_table

LIMITS = Limits(perplexity_ratio=1.5, distinct=0.5)
BOOTSTRAP = Bootstrap(resamples=200)
PROMPTS = 4


def texts(
    name: str | None, layer: int | None, strength: float | None, shown: int, nll: float, *, words: str = ""
) -> pl.DataFrame:
    """Four texts, of which the first `shown` show the concept, each of mean log-likelihood `nll` + the prompt's own."""
    rows: list[dict[str, Any]] = [
        {
            "concept": name, "layer": layer, "strength": strength, "prompt_id": f"tuning-{number}", "seed": 1,
            "text": words or f"word{number} other{number} third{number}", "nll": nll + number, "kl": 0.25,
            "repeated": 0.0,
            "p_happy": 0.5 if number < shown else 0.49, "p_sad": 0.9 if number < 3 else 0.0,
        }
        for number in range(PROMPTS)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"layer": pl.Int64, "strength": pl.Float64, "concept": pl.String})


UNSTEERED = texts(None, None, None, 0, 1.0)


def table(*points: pl.DataFrame, parts: dict[str, list[str]] | None = None) -> pl.DataFrame:
    return sweep_table(pl.concat(points), UNSTEERED, parts or {"happy": ["happy"]}, LIMITS, BOOTSTRAP)


def chosen(swept: pl.DataFrame) -> tuple[int, float]:
    (found,) = swept.filter("chosen").select("layer", "strength").rows()
    return found


def test_rate_and_perplexity_of_a_point_are_those_of_its_texts() -> None:
    (row,) = table(texts("happy", 3, 0.4, 3, 1.2)).to_dicts()
    assert row["rate"] == 0.75 and row["texts"] == 4 and row["kl"] == 0.25
    # Mean over prompts 1.2 + (0 + 1 + 2 + 3) / 4; unsteered 1.0 + 1.5.
    assert row["perplexity"] == pytest.approx(math.exp(2.7))
    assert row["ratio"] == pytest.approx(math.exp(0.2))
    # Every prompt became less likely by the same 0.2: there is no spread.
    assert row["ratio_low"] == pytest.approx(row["ratio_high"])
    assert row["rate_low"] < 0.75 < row["rate_high"]


def test_the_highest_rate_wins_while_perplexity_stays_within_its_limit() -> None:
    swept = table(
        texts("happy", 2, 0.4, 2, 1.1), texts("happy", 2, 0.8, 4, 1.0 + math.log(1.6)), texts("happy", 4, 0.4, 3, 1.3)
    )  # fmt: skip
    assert swept["safe"].to_list() == [True, False, True]
    assert chosen(swept) == (4, 0.4)


def test_of_equal_rates_the_gentler_wins() -> None:
    swept = table(
        texts("happy", 2, 0.4, 3, 1.3), texts("happy", 3, 0.6, 3, 1.1), texts("happy", 4, 0.2, 3, 1.2)
    )  # fmt: skip
    assert chosen(swept) == (3, 0.6)


def test_texts_that_say_the_same_over_and_over_are_not_safe_however_likely() -> None:
    # Unsteered: 8 distinct pairs of words of 8. One text four times: 2 of 8, below half.
    swept = table(texts("happy", 2, 0.4, 4, 0.2, words="joy joy! glad"), texts("happy", 2, 0.2, 1, 1.0))
    assert swept.filter(strength=0.4)["distinct_2"].item() == pytest.approx(2 / 8)
    assert chosen(swept) == (2, 0.2)
    # Single words have no pairs: brief answers are not repetitive.
    assert table(texts("happy", 2, 0.4, 4, 1.0, words="Yes."))["safe"].item()


def test_the_safe_range_ends_before_the_first_strength_that_is_not() -> None:
    over = 1.0 + math.log(1.6)
    swept = table(
        texts("happy", 2, 0.2, 1, 1.0), texts("happy", 2, 0.4, 3, 1.2), texts("happy", 2, 0.6, 3, over),
        texts("happy", 2, 0.8, 2, 1.2), texts("happy", 5, 0.8, 1, 1.0),
    )  # fmt: skip
    found = chosen_points(swept, "relative")["happy"]
    assert found["layer"] == 2 and found["strength"] == 0.4 and found["units"] == "relative"
    assert found["safe"] == [0.0, 0.4] and found["within"] is True
    assert found["rate"] == 0.75 and found["ratio"] == pytest.approx(math.exp(0.2))


def test_where_nothing_is_within_the_limits_the_gentlest_is_taken_and_said_to_be_beyond() -> None:
    swept = table(texts("happy", 2, 0.4, 4, 2.0), texts("happy", 3, 0.4, 1, 1.8))
    found = chosen_points(swept, "relative")["happy"]
    assert (found["layer"], found["within"], found["safe"]) == (3, False, [0.0, 0.0])


def test_a_mix_counts_texts_that_show_all_its_parts() -> None:
    # Two show happy, three show sad, of which the first two are the same.
    swept = table(texts("happy:0.5,sad:0.5", 2, 0.4, 2, 1.0), parts={"happy:0.5,sad:0.5": ["happy", "sad"]})
    assert swept["rate"].item() == 0.5


def test_without_mixes_there_is_an_empty_table_of_the_same_columns() -> None:
    empty = sweep_table(texts("happy", 2, 0.4, 2, 1.0).clear(), UNSTEERED, {}, LIMITS, BOOTSTRAP)
    assert empty.is_empty() and empty.columns == table(texts("happy", 2, 0.4, 2, 1.0)).columns
    assert chosen_points(empty, "relative") == {}
