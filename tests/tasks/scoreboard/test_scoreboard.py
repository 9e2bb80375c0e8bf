"""The scoreboard's numbers by hand, and what it refuses to compare."""

from typing import Any

import polars as pl
import pytest

from seasons.label_set import SEASONS_WORLD
from steerwright.errors import UserError
from steerwright.report.scoreboard import scoreboard_text
from steerwright.scoring.target import parse_target
from steerwright.stats.bootstrap import Bootstrap
from tasks.latents.winter import shown_concept
from tasks.scoreboard.report import Entry, check_alike, scoreboard

BOOTSTRAP = Bootstrap(resamples=100, seed=0)
WINTER = parse_target("winter", {}, SEASONS_WORLD)


def pictures(seasons: list[str], seeds: tuple[int, ...] = (1,), lpips: float = 1.0, **changed: Any) -> pl.DataFrame:
    rows = [
        {"prompt_id": i, "seed": seed, "prompt": f"p{i}", "season": season, "setting": "outdoor", "object_right": True,
         "place_right": None, "time_right": True, "prompt_similarity": 0.5, "lpips": lpips} | changed
        for i, season in enumerate(seasons) for seed in seeds
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(["object_right", "place_right", "time_right"], pl.Boolean))


PLAIN = pictures(["summer", "summer", "winter", "autumn"], lpips=0.0)


def numbers(*entries: Entry) -> dict[tuple[str, str], float]:
    found = scoreboard(entries, BOOTSTRAP, WINTER)
    return {(row["method"], row["metric"]): row["estimate"] for row in found.iter_rows(named=True)}


def test_each_measure_by_hand() -> None:
    steered = pictures(["winter", "winter", "winter", "autumn"]).with_columns(
        pl.Series("setting", ["outdoor", "outdoor", "outdoor", "indoor"]),
        pl.Series("object_right", [True, False, True, True]),
    )
    random = pictures(["summer", "spring", "winter", "autumn"])
    found = numbers(Entry("none", PLAIN, PLAIN), Entry("steered", steered, PLAIN, random))
    assert found["steered", "winter_rate"] == 1.0
    assert found["none", "winter_rate"] == 0.25
    # One of two named labels is wrong in one of four pictures: 3.5 of 4 right, against all.
    assert found["steered", "labels_right"] == pytest.approx(3.5 / 4)
    assert found["steered", "random_season_changed"] == 0.25
    assert found["steered", "lpips"] == 1.0
    assert ("none", "labels_right") not in found
    assert ("none", "random_season_changed") not in found


def test_only_what_all_methods_have_is_compared() -> None:
    more = pictures(["winter", "winter", "winter", "winter"], seeds=(1, 2))
    table = scoreboard([Entry("none", PLAIN, PLAIN), Entry("more", more, pl.concat([PLAIN, PLAIN.with_columns(
        (pl.col("seed") + 1).alias("seed"))]))], BOOTSTRAP, WINTER)  # fmt: skip
    assert set(table["images"].to_list()) == {4}


def test_methods_without_a_common_seed_are_refused() -> None:
    with pytest.raises(UserError, match="no prompt and seed in common"):
        numbers(Entry("a", PLAIN, PLAIN), Entry("b", pictures(["winter"], seeds=(9,)), PLAIN))


def test_equal_ids_of_other_prompts_are_not_the_same_prompt() -> None:
    other = PLAIN.with_columns(pl.lit("another text").alias("prompt"))
    with pytest.raises(UserError, match="no prompt and seed in common"):
        numbers(Entry("a", PLAIN, PLAIN), Entry("b", other, other))


def test_the_measures_follow_the_concept() -> None:
    autumn = parse_target("autumn", {}, SEASONS_WORLD)
    turned = pictures(["autumn", "autumn", "winter", "autumn"])
    rows = scoreboard([Entry("none", PLAIN, PLAIN), Entry("steered", turned, PLAIN, turned)], BOOTSTRAP, autumn)
    found = {(row["method"], row["metric"]): row["estimate"] for row in rows.iter_rows(named=True)}
    assert (found["none", "autumn_rate"], found["steered", "autumn_rate"]) == (0.25, 0.75)
    assert found["steered", "random_season_changed"] == 0.5
    text = scoreboard_text(rows, autumn)
    assert "Autumn" in text and "Winter" not in text


def test_methods_that_steer_towards_different_concepts_are_not_compared() -> None:
    winter = {"label": "season", "value": "winter"}
    check_alike(WINTER, "add-winter", winter, "season:winter")
    with pytest.raises(UserError, match="different ones") as refused:
        check_alike(parse_target("autumn", {}, SEASONS_WORLD), "add-winter", winter, "season:winter")
    for line in ("winter.vectors.concept is season:autumn", "add-winter of scoreboard.report.edit is season:winter"):
        assert line in str(refused.value)


def test_the_latents_picture_of_a_concept_is_judged_as_that_concept() -> None:
    common = {"template": "fill", "contexts": "c", "label": "season"}
    listed = {name: {**common, "text": name, "words": [name], "value": name} for name in ("winter", "autumn")}
    name, shown = shown_concept("season:autumn", listed)
    assert (name, shown.value) == ("autumn", "autumn")
    with pytest.raises(UserError, match=r"latents\.winter\.concept is time:night"):
        shown_concept("time:night", listed)
