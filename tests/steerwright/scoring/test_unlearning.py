"""UA, IRA, CRA and what stands beside them, on pictures whose answers are counted by hand."""

import itertools
from typing import Any

import polars as pl
import pytest

from steerwright.errors import UserError
from steerwright.scoring.erasure_samples import ErasureTarget
from steerwright.scoring.unlearning import answers, check_pictures, flat_metrics, unlearning
from steerwright.stats.bootstrap import Bootstrap

BOOTSTRAP = Bootstrap(resamples=300, seed=3)
# Six prompts: two ask for winter, two for summer, one for autumn, and one names no season.
PROMPTS = [("winter", "car", "day"), ("winter", "cat", None), ("summer", "car", "night"), ("summer", "cat", "day"),
           ("autumn", "car", None), (None, "cat", "day")]  # fmt: skip
STRINGS = ("target", "season", "object", "time", "asked_season", "asked_object", "asked_time")


def picture(prompt: int, method: str, target: str | None = None, **seen: Any) -> dict[str, Any]:
    """As asked (spring by day where nothing is asked), but for `seen`."""
    season, thing, time = PROMPTS[prompt]
    asked = {"asked_season": season, "asked_object": thing, "asked_time": time}
    shown = {"season": season or "spring", "object": thing, "time": time or "day"}
    rest = {"lpips": 0.0, "artifact": False, "clip_target": None if target is None else 0.5}
    return {
        "target": target, "method": method, "strength": 0.0 if target is None else 1.0, "operating": True,
        "prompt_id": f"p{prompt}", "prompt": f"prompt {prompt}", "seed": 100 + prompt, **shown, **asked, **rest, **seen,
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    overrides: dict[str, Any] = dict.fromkeys(STRINGS, pl.String)
    return pl.DataFrame(
        rows, schema_overrides=overrides | {"clip_target": pl.Float64, "lpips": pl.Float64, "artifact": pl.Boolean},
        infer_schema_length=None,
    )  # fmt: skip


def unsteered() -> list[dict[str, Any]]:
    """One winter picture shows autumn, and prompt 5, which names no season, shows winter."""
    seen: dict[int, dict[str, str]] = {1: {"season": "autumn"}, 5: {"season": "winter"}}
    return [picture(i, "unsteered", **seen.get(i, {})) for i in range(6)]


def winter_erased() -> list[dict[str, Any]]:
    seen: dict[int, dict[str, Any]] = {
        0: {"season": "summer", "lpips": 0.4, "artifact": True},
        1: {"season": "winter", "lpips": 0.3},
        2: {"season": "autumn", "time": "day", "lpips": 0.2},
        4: {"object": "boat", "lpips": 0.1},
        5: {"season": "summer", "lpips": 0.5},
    }
    return [picture(i, "steered", "season:winter", **seen.get(i, {})) for i in range(6)]


def scores(rows: list[dict[str, Any]], **more: Any) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = unlearning(table(rows), BOOTSTRAP, **more)
    return {(row["target"], row["method"], row["metric"]): row for row in found.iter_rows(named=True)}


def test_the_three_rates_are_those_counted_by_hand() -> None:
    found = scores(unsteered() + winter_erased())

    def estimate(metric: str) -> float:
        value: float = found["season:winter", "steered", metric]["estimate"]
        return value

    # Two prompts ask for winter: one picture shows it still. Three ask for another season: prompt 2 lost its summer.
    assert estimate("ua") == pytest.approx(1 / 2)
    assert estimate("ira") == pytest.approx(2 / 3)
    # Six objects (one is wrong) and four times (one is wrong) are named.
    assert estimate("cra_object") == pytest.approx(5 / 6)
    assert estimate("cra_time") == pytest.approx(3 / 4)
    assert estimate("cra") == pytest.approx(8 / 10)
    # Unsteered, prompt 1 showed autumn instead of winter; all else was right.
    assert estimate("ua_unsteered") == pytest.approx(1 / 2)
    assert estimate("ira_unsteered") == 1.0 and estimate("cra_unsteered") == 1.0
    assert estimate("ira_relative") == pytest.approx(2 / 3) and estimate("cra_relative") == pytest.approx(8 / 10)
    assert found["season:winter", "unsteered", "ua"]["estimate"] == pytest.approx(1 / 2)
    assert found["season:winter", "unsteered", "cra"]["estimate"] == 1.0
    assert ("season:winter", "unsteered", "ua_unsteered") not in found


def test_every_named_label_counts_in_one_rate_only() -> None:
    found = scores(unsteered() + winter_erased())
    images = {
        metric: found["season:winter", "steered", metric]["images"] for metric in ("ua", "ira", "cra", "cra_time")
    }
    assert images == {"ua": 2, "ira": 3, "cra": 6, "cra_time": 4}
    assert found["season:winter", "unsteered", "ira"]["images"] == 3


def test_elsewhere_is_where_the_prompt_does_not_name_the_target_and_the_unsteered_picture_does_not_show_it() -> None:
    found = scores(unsteered() + winter_erased())
    # Prompts 2, 3 and 4; prompt 5 showed winter unasked, so taking it away there is no harm.
    elsewhere = found["season:winter", "steered", "lpips_elsewhere"]
    assert (elsewhere["estimate"], elsewhere["images"]) == (pytest.approx((0.2 + 0.0 + 0.1) / 3), 3)
    unnamed = found["season:winter", "steered", "lpips_unnamed"]
    assert (unnamed["estimate"], unnamed["images"]) == (pytest.approx((0.2 + 0.0 + 0.1 + 0.5) / 4), 4)
    assert found["season:winter", "steered", "artifact_rate"]["estimate"] == pytest.approx(1 / 6)
    assert found["season:winter", "steered", "artifact_rate_unsteered"]["estimate"] == 0.0
    # The one artifact is of prompt 0, one of the two that ask for winter.
    named = found["season:winter", "steered", "artifact_rate_named"]
    assert (named["estimate"], named["images"]) == (pytest.approx(1 / 2), 2)
    assert found["season:winter", "unsteered", "artifact_rate_named"]["estimate"] == 0.0
    assert found["season:winter", "steered", "clip_target"]["images"] == 2


def test_means_count_targets_alike_and_relative_rates_are_ratios_of_means() -> None:
    summer = [picture(i, "steered", "season:summer", **({"season": "winter"} if i == 2 else {})) for i in range(6)]
    cat = [picture(i, "steered", "object:cat", object="car") for i in range(6)]
    found = scores(unsteered() + winter_erased() + summer + cat)
    seasons = {metric: found["mean over seasons", "steered", metric]["estimate"] for metric in
               ("ua", "ira", "ira_unsteered", "ira_relative")}  # fmt: skip
    # Winter 1/2, summer 1/2. Of summer's others: winter twice, autumn once, all as asked; unsteered 2/3.
    assert seasons["ua"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert seasons["ira"] == pytest.approx((2 / 3 + 3 / 3) / 2)
    assert seasons["ira_unsteered"] == pytest.approx((3 / 3 + 2 / 3) / 2)
    assert seasons["ira_relative"] == pytest.approx(seasons["ira"] / seasons["ira_unsteered"])
    assert found["mean over objects", "steered", "ua"]["estimate"] == 1.0
    assert found["mean over objects", "steered", "ira"]["estimate"] == 1.0
    assert found["mean", "steered", "ua"]["estimate"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert found["mean over seasons", "steered", "artifact_rate"]["images"] == 12
    # The six unsteered pictures are the same for both seasons.
    assert found["mean over seasons", "unsteered", "artifact_rate"]["images"] == 6


def test_targets_erased_together_are_one_target_and_stand_outside_the_means() -> None:
    together = [picture(i, "steered", "season:winter + season:summer", **({"season": "autumn"} if i < 3 else {}))
                for i in range(6)]  # fmt: skip
    found = scores(unsteered() + winter_erased() + together)
    name = "season:winter + season:summer"
    # Winter and summer are asked for four times, and shown once (prompt 3); autumn, which stays, is asked for once.
    assert found[name, "steered", "ua"]["estimate"] == pytest.approx(3 / 4)
    assert found[name, "steered", "ira"]["images"] == 1
    assert found["mean over seasons", "steered", "ua"]["estimate"] == pytest.approx(1 / 2)


def test_strengths_off_the_operating_point_have_rows_but_no_part_in_means() -> None:
    swept = [row | {"strength": 2.0, "operating": False, "season": "spring"} for row in winter_erased()]
    found = unlearning(table(unsteered() + winter_erased() + swept), BOOTSTRAP)
    ua = found.filter(target="season:winter", method="steered", metric="ua").sort("strength")
    assert ua["estimate"].to_list() == [pytest.approx(0.5), 1.0] and ua["operating"].to_list() == [True, False]
    assert found.filter(target="mean", method="steered", metric="ua")["estimate"].to_list() == [pytest.approx(0.5)]


@pytest.mark.parametrize("double", ["id", "text"])
def test_a_picture_that_is_there_twice_is_refused(double: str) -> None:
    again = winter_erased()[0] | ({} if double == "id" else {"prompt_id": "other"})
    rows = [*unsteered(), *([unsteered()[0] | {"prompt_id": "other"}] if double == "text" else []), *winter_erased()]
    with pytest.raises(ValueError, match="counted more than once"):
        check_pictures(table([*rows, again]))


def test_an_unsteered_picture_that_is_made_again_for_each_target_is_refused() -> None:
    rows = [*unsteered(), *(row | {"target": "season:winter"} for row in unsteered())]
    with pytest.raises(ValueError, match="no target"):
        check_pictures(table(rows))
    with pytest.raises(ValueError, match="counted more than once"):
        check_pictures(table([*unsteered(), unsteered()[0]]))


def test_a_picture_without_its_unsteered_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1 pictures have no unsteered picture.*prompt_id p3"):
        check_pictures(table(unsteered()[:3] + unsteered()[4:] + winter_erased()))


def test_fid_leaves_out_prompts_that_name_the_target() -> None:
    rows = unsteered() + winter_erased()
    near = [[0.0, 0.0], [9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0]]
    moved = [[50.0, 50.0], [70.0, -9.0], *([x + 3.0, y] for x, y in near[2:])]
    found = scores(rows, features=pl.Series([*near, *moved]))["season:winter", "steered", "fid"]
    # The four others have the same shape, three to the right.
    assert found["estimate"] == pytest.approx(9.0) and found["low"] is None and found["images"] == 4


def test_overhead_is_time_over_unsteered_time() -> None:
    timings = pl.DataFrame(
        {"target": [None, "season:winter"], "method": ["unsteered", "steered"], "strength": [0.0, 1.0],
         "seconds_per_picture": [0.2, 0.3]}
    )  # fmt: skip
    found = scores(unsteered() + winter_erased(), timings=timings)
    assert found["season:winter", "steered", "overhead"]["estimate"] == pytest.approx(1.5)
    assert found["mean over seasons", "steered", "seconds_per_picture"]["estimate"] == pytest.approx(0.3)
    assert found["season:winter", "unsteered", "seconds_per_picture"]["estimate"] == pytest.approx(0.2)


def test_intervals_are_over_prompts_and_have_no_width_where_prompts_agree() -> None:
    # 40 prompts of winter, each with two seeds that agree; half of the prompts lose winter.
    rows = []
    for prompt, seed, method in itertools.product(range(40), (1, 2), ("unsteered", "steered")):
        gone = method == "steered" and prompt < 20
        row = picture(0, method, None if method == "unsteered" else "season:winter",
                      season="summer" if gone else "winter")  # fmt: skip
        rows.append(row | {"prompt_id": f"q{prompt}", "prompt": f"q {prompt}", "seed": seed})
    found = scores(rows)
    ua = found["season:winter", "steered", "ua"]
    assert (ua["estimate"], ua["prompts"], ua["images"]) == (0.5, 40, 80)
    # Binomial, 40 draws: standard deviation 0.079; with pictures as independent it would be 0.056.
    assert 0.33 <= ua["low"] <= 0.37 and 0.63 <= ua["high"] <= 0.67
    cra = found["season:winter", "steered", "cra"]
    assert (cra["low"], cra["estimate"], cra["high"]) == (1.0, 1.0, 1.0)


def test_answers_hold_the_bar_against_ours_alone() -> None:
    rows = unsteered() + winter_erased() + [row | {"method": "ablation"} for row in winter_erased()]
    found = answers(unlearning(table(rows), BOOTSTRAP)).filter(target="mean over seasons")
    ours = {row["measure"]: row for row in found.filter(method="steered").iter_rows(named=True)}
    assert {name: row["met"] for name, row in ours.items()} == {
        "ua": False, "ira_relative": False, "cra_relative": False, "artifact_rate": False,
        "artifact_rate_named": False, "lpips_elsewhere": False,
    }  # fmt: skip
    assert ours["ua"]["bar"] == "at least 95 %" and ours["lpips_elsewhere"]["bar"] == "at most 0.05"
    others = found.filter(method="ablation")
    assert set(others["bar"].to_list()) == {""} and others["met"].null_count() == others.height


def test_a_bar_that_is_just_reached_is_met() -> None:
    plain = [picture(0, "unsteered") | {"prompt_id": f"p{i}", "prompt": f"{i}"} for i in range(20)]
    erased = [row | {"target": "season:winter", "method": "steered", "strength": 1.0,
                     "season": "winter" if i == 0 else "summer"} for i, row in enumerate(plain)]  # fmt: skip
    found = answers(unlearning(table(plain + erased), BOOTSTRAP)).filter(measure="ua", target="mean", method="steered")
    assert found["met"].to_list() == [True]


def test_one_target_and_one_method_without_ira_leave_gaps_and_no_error() -> None:
    rows = [row for row in unsteered() + winter_erased() if row["prompt_id"] in ("p0", "p1")]
    found = unlearning(table(rows), BOOTSTRAP)
    metrics = set(found.filter(method="steered")["metric"].to_list())
    assert "ua" in metrics and not {"ira", "ira_relative", "lpips_elsewhere", "fid"} & metrics
    assert flat_metrics(found)["mean_over_seasons"]["steered"]["ua"] == 0.5


def test_a_rate_over_nothing_right_has_no_ratio() -> None:
    plain = [row | {"object": "boat", "time": "sunset"} for row in unsteered()]
    row = unlearning(table(plain + winter_erased()), BOOTSTRAP).filter(
        target="season:winter", method="steered", metric="cra_relative"
    )
    assert row["estimate"].to_list() == [None] and row["low"].to_list() == [None]


@pytest.mark.parametrize("text", ["winter", "season:", ":winter", "season:winter + season:winter", ""])
def test_a_target_that_is_none_says_how_one_is_written(text: str) -> None:
    with pytest.raises(UserError, match="axis:value"):
        ErasureTarget.parse(text)


def test_a_target_reads_back_as_it_was_written() -> None:
    text = "season:winter + object:car + season:summer"
    found = ErasureTarget.parse(text)
    assert str(found) == text and found.axes == ("season", "object") and found.values("season") == ("winter", "summer")
