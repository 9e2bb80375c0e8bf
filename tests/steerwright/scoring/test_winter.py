"""The winter scores on tables small enough to check by hand."""

import json
from pathlib import Path

import polars as pl
import pytest

from seasons.label_set import SEASONS_WORLD
from steerwright.scoring.judgements import judge
from steerwright.scoring.target import parse_target
from steerwright.scoring.winter import WinterScores, flat_metrics, score_winter, write_metrics, write_plots
from steerwright.stats.bootstrap import Bootstrap

WINTER = parse_target("winter", {}, SEASONS_WORLD)
PROMPTS = pl.DataFrame(
    {
        "prompt_id": [0, 1, 2],
        "prompt": ["a red car on a street in summer", "a blue cat in a room", "a tent"],
        "resistance": ["high", "low", "medium"],
        "object": ["car", "cat", "tent"],
        "colour": ["red", "blue", None],
        "place": ["street", "room", None],
        "time": [None, None, None],
    }
)


def picture(prompt: int, seed: int, condition: str, labels: str, lpips: float = 0.5) -> dict[str, object]:
    season, thing, colour, place, time = labels.split()
    return {
        "prompt_id": prompt, "seed": seed, "condition": condition, "season": season, "object": thing, "colour": colour,
        "place": place, "time": time, "winter_similarity": 0.2, "winter_margin": -0.1, "prompt_similarity": 0.4,
        "lpips": lpips,
    }  # fmt: skip


MEASURED = pl.DataFrame(
    [
        picture(0, 1, "unsteered", "summer car red street day", 0),
        picture(0, 2, "unsteered", "summer house red street day", 0),  # the object is wrong before any steering
        picture(1, 1, "unsteered", "spring cat blue room night", 0),
        picture(1, 2, "unsteered", "winter cat blue room night", 0),
        picture(2, 1, "unsteered", "autumn tent purple lake sunset", 0),
        picture(2, 2, "unsteered", "autumn tent yellow room sunset", 0),  # no place named, and it shows a room
        picture(0, 1, "fixed", "summer car red street day"),
        picture(0, 2, "fixed", "winter house red street night"),
        picture(1, 1, "fixed", "spring cat blue room night"),
        picture(1, 2, "fixed", "winter cat red room night"),
        picture(2, 1, "fixed", "winter tent purple lake sunset"),
        picture(2, 2, "fixed", "winter tent yellow room day"),
        picture(0, 1, "adaptive", "winter car red street day"),
        picture(0, 2, "adaptive", "winter car red street day"),
        picture(1, 1, "adaptive", "spring cat blue room night"),
        picture(1, 2, "adaptive", "winter cat blue room night"),
        picture(2, 1, "adaptive", "winter tent purple meadow sunset"),
        picture(2, 2, "adaptive", "winter boat yellow room sunset"),
    ]
)


@pytest.fixture(scope="module")
def scores() -> WinterScores:
    return score_winter(MEASURED, PROMPTS, WINTER, Bootstrap(resamples=500))


def six_times(measured: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The pictures and prompts, each prompt six times over."""
    return tuple(  # type: ignore[return-value]
        pl.concat([table.with_columns(pl.col("prompt_id") + 10 * copy) for copy in range(6)])
        for table in (measured, PROMPTS)
    )


def cell(table: pl.DataFrame, column: str, **where: object) -> object:
    rows = table.filter(**where)
    assert rows.height == 1
    return rows[column][0]


def test_a_setting_is_the_named_place_else_that_of_the_unsteered_picture(scores: WinterScores) -> None:
    settings = scores.images.filter(condition="adaptive").select("prompt_id", "seed", "setting").rows()
    assert settings == [
        (0, 1, "outdoor"), (0, 2, "outdoor"), (1, 1, "indoor"), (1, 2, "indoor"), (2, 1, "outdoor"), (2, 2, "indoor"),
    ]  # fmt: skip


def test_right_is_judged_by_what_the_prompt_names_and_kept_by_the_unsteered_picture(scores: WinterScores) -> None:
    row = scores.images.row(
        by_predicate=(pl.col("prompt_id") == 0) & (pl.col("seed") == 2) & (pl.col("condition") == "adaptive"),
        named=True,
    )
    assert row["object_right"] and not row["object_kept"]
    assert row["time_right"] is None and row["time_kept"]
    assert row["winter"] and row["season_changed"]
    unnamed = scores.images.filter(prompt_id=2, condition="adaptive")
    assert unnamed["place_right"].to_list() == [None, None]
    assert unnamed["place_kept"].to_list() == [False, True]


def test_fidelity_is_the_share_of_four_labels_that_are_what_they_should_be(scores: WinterScores) -> None:
    assert scores.images.filter(condition="fixed").sort("prompt_id", "seed")["fidelity"].to_list() == [
        1.0, 0.5, 1.0, 0.75, 1.0, 0.75,
    ]  # fmt: skip
    assert scores.images.filter(condition="unsteered")["fidelity"].to_list() == [1.0, 0.75, 1.0, 1.0, 1.0, 1.0]


def test_rates_by_condition_and_group(scores: WinterScores) -> None:
    # Outdoors are prompt 0 twice and prompt 2 once; two of three are winter when fixed, all when adaptive.
    fixed = scores.interval("winter_rate", "fixed", "outdoor")
    assert fixed is not None
    assert fixed["estimate"] == pytest.approx(2 / 3) and (fixed["prompts"], fixed["images"]) == (2, 3)
    assert cell(scores.aggregate, "estimate", metric="winter_rate", condition="adaptive", group="outdoor") == 1.0
    assert cell(scores.aggregate, "estimate", metric="winter_rate", condition="fixed", group="high") == 0.5
    assert cell(scores.aggregate, "estimate", metric="object_right", condition="unsteered", group="all") == 5 / 6
    assert cell(scores.aggregate, "images", metric="colour_right", condition="fixed", group="all") == 4
    assert scores.aggregate.filter(metric="time_right").height == 0


def test_per_prompt_rows_are_means_over_seeds_and_null_where_nothing_is_named(scores: WinterScores) -> None:
    assert scores.per_prompt.height == 9
    assert cell(scores.per_prompt, "winter_rate", prompt_id=0, condition="fixed") == 0.5
    assert cell(scores.per_prompt, "object_right", prompt_id=2, condition="adaptive") == 0.5
    assert cell(scores.per_prompt, "colour_right", prompt_id=2, condition="adaptive") is None
    assert cell(scores.per_prompt, "lpips", prompt_id=0, condition="unsteered") == 0


def test_the_comparisons_are_the_quotients_their_docstring_says(scores: WinterScores) -> None:
    table = scores.comparisons
    # Object: five of six right unsteered, six of six fixed but for the house of (0, 2): 5/6 over 5/6.
    assert cell(table, "estimate", name="b_object_right_fixed") == pytest.approx(1.0)
    # Adaptive mends the house and loses a tent. Colour of prompts 0 and 1: fixed turns one of four red.
    assert cell(table, "estimate", name="b_object_right_adaptive") == pytest.approx(1.0)
    assert cell(table, "estimate", name="b_colour_right_fixed") == pytest.approx(0.75)
    assert cell(table, "met", name="b_colour_right_fixed") is None
    # High resistance is prompt 0: winter 2 of 2 against 1 of 2; fidelity 1 against (1 + 0.5) / 2.
    assert cell(table, "estimate", name="c_winter_high_adaptive_over_fixed") == pytest.approx(1.0)
    assert cell(table, "estimate", name="c_fidelity_high_adaptive_over_fixed") == pytest.approx(1 / 3)
    # One prompt cannot tell a difference from chance; six of the same kind can.
    assert cell(table, "met", name="c_winter_high_adaptive_over_fixed") is False
    table = score_winter(*six_times(MEASURED), WINTER, Bootstrap(resamples=50)).comparisons
    assert cell(table, "estimate", name="c_winter_high_adaptive_over_fixed") == pytest.approx(1.0)
    assert cell(table, "met", name="c_winter_high_adaptive_over_fixed") is True
    assert cell(table, "met", name="c_fidelity_high_adaptive_over_fixed") is False
    table = scores.comparisons
    assert cell(table, "estimate", name="d_season_changed_fixed") == pytest.approx(3 / 6)
    assert cell(table, "met", name="a_winter_outdoor_unsteered") is True
    assert cell(table, "met", name="a_winter_outdoor_fixed") is False


def test_more_winter_at_the_price_of_fidelity_does_not_reach_the_bar() -> None:
    # Both adaptive pictures of prompt 0 lose their place: fidelity (3/4 + 3/4) / 2 against (1 + 1/2) / 2 is equal;
    # losing the colour as well is lower.
    rows = (pl.col("prompt_id") == 0) & (pl.col("condition") == "adaptive")
    moved = MEASURED.with_columns(pl.when(rows).then(pl.lit("lake")).otherwise("place").alias("place"))
    painted = moved.with_columns(pl.when(rows).then(pl.lit("blue")).otherwise("colour").alias("colour"))
    for table, difference, met in ((moved, 0.0, True), (painted, -1 / 3, False)):
        found = score_winter(*six_times(table), WINTER, Bootstrap(resamples=50)).comparisons
        assert cell(found, "estimate", name="c_fidelity_high_adaptive_over_fixed") == pytest.approx(difference)
        assert cell(found, "met", name="c_winter_high_adaptive_over_fixed") is met


def test_a_control_that_is_absent_is_left_out_and_one_that_is_present_is_judged() -> None:
    random = MEASURED.filter(condition="unsteered").with_columns(pl.lit("random").alias("condition"))
    table = score_winter(pl.concat([MEASURED, random]), PROMPTS, WINTER, Bootstrap(resamples=50)).comparisons
    assert cell(table, "met", name="d_season_changed_random") is True
    assert table.filter(condition="prompt").height == 0


def test_nothing_to_compare_with_is_null_and_not_an_error() -> None:
    never = MEASURED.with_columns(
        pl.when(pl.col("condition") == "fixed").then(pl.lit("summer")).otherwise("season").alias("season"),
        pl.when(pl.col("condition") == "adaptive").then(pl.lit("summer")).otherwise("season").alias("_"),
    ).drop("_")
    scores = score_winter(never, PROMPTS, WINTER, Bootstrap(resamples=50))
    metrics = flat_metrics(scores)
    assert metrics["c_winter_high_adaptive_over_fixed"] is None  # 1 over 0
    json.dumps(metrics, allow_nan=False)


def test_metrics_and_plots_are_files_that_dvc_reads(scores: WinterScores, tmp_path: Path) -> None:
    write_metrics(scores, tmp_path / "metrics.json", "lpips_seasons")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["winter_rate_outdoor_fixed"] == pytest.approx(2 / 3, abs=1e-6)
    assert metrics["winter_rate_outdoor_fixed_low"] <= 2 / 3 <= metrics["winter_rate_outdoor_fixed_high"]
    assert metrics["lpips_seasons_all_unsteered"] == 0 and "lpips_all_unsteered" not in metrics
    assert all(value is None or isinstance(value, float | int) for value in metrics.values())
    write_plots(scores, tmp_path / "rates.csv", tmp_path / "similarity.csv")
    similarity, rates = pl.read_csv(tmp_path / "similarity.csv"), pl.read_csv(tmp_path / "rates.csv")
    assert similarity.height == 9 and not similarity.select("prompt_id", "condition").is_duplicated().any()
    assert set(rates["panel"]) == {"all", "outdoor", "indoor", "high", "medium", "low"}
    assert not rates.select("panel", "condition").is_duplicated().any()


def test_the_order_of_the_rows_changes_nothing(scores: WinterScores) -> None:
    mixed = MEASURED.sample(fraction=1, shuffle=True, seed=3)
    shuffled = score_winter(mixed, PROMPTS, WINTER, Bootstrap(resamples=500))
    assert shuffled.aggregate.equals(scores.aggregate)
    assert shuffled.comparisons.equals(scores.comparisons)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop("lpips"), "lacks the columns lpips"),
        (lambda t: pl.concat([t, t.head(1)]), "two rows"),
        (lambda t: t.with_columns(pl.lit(float("nan")).alias("lpips")), "lpips has values"),
        (lambda t: t.with_columns(pl.lit("monsoon").alias("season")), "Unknown season monsoon"),
        (lambda t: t.filter(~((pl.col("condition") == "unsteered") & (pl.col("seed") == 2))), "6 pictures .* prompt 0"),
        (lambda t: t.with_columns(pl.col("prompt_id") + 1), r"unknown: \[3\]"),
    ],
)
def test_tables_that_cannot_be_judged_are_refused(change: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judge(change(MEASURED), PROMPTS, WINTER)  # type: ignore[operator]
