"""What pictures are steered towards: autumn, winter and night at once, fog; and names and scores that follow it."""

from typing import Any

import polars as pl
import pytest
import torch

from seasons.label_set import SEASONS_WORLD
from steerwright.errors import UserErrors
from steerwright.experiments.projection import at_once
from steerwright.prompts.suite import ContrastPair
from steerwright.scoring.metrics import METRICS
from steerwright.scoring.target import ShownConcept, Target, check_pairs, parse_target, read_target, write_target
from steerwright.scoring.winter import flat_metrics, score_winter
from steerwright.stats.bootstrap import Bootstrap

FOG = {"pairs": "fog.csv", "phrases": ["a foggy scene"], "other_phrases": ["a clear scene"]}
BOTH = {
    "winter": {"label": "season", "value": "winter"},
    "night": {"pairs": "night.csv", "label": "time", "value": "night"},
}


def test_a_value_of_the_world_needs_no_description_and_names_follow_it(tmp_path: Any) -> None:
    autumn = parse_target("autumn", {}, SEASONS_WORLD)
    assert (autumn.name, autumn.key, autumn.changed, autumn.added_words) == (
        "autumn", "autumn", "season_changed", "in autumn",
    )  # fmt: skip
    both = parse_target(["winter", "night"], BOTH, SEASONS_WORLD)
    assert (both.name, both.key, both.changed) == ("winter and night", "winter_night", "season_time_changed")
    assert both.kept_labels == ("object", "colour", "place") and both.added_words == "in winter at night"
    write_target(both, tmp_path / "target.json")
    assert read_target(tmp_path / "target.json", SEASONS_WORLD) == both
    assert parse_target("winter", {"winter": {"label": "season", "value": "winter"}}, SEASONS_WORLD) == Target(
        {"winter": ShownConcept(label="season", value="winter")}, SEASONS_WORLD, "in winter"
    )


@pytest.mark.parametrize(
    ("chosen", "concepts", "words", "resistance", "said"),
    [
        ("foggy", {}, None, {}, r"winter\.concepts\.foggy: \{pairs: FILE, phrases"),
        (["winter", "autumn"], {}, None, {}, "exclude each other"),
        ([], {}, None, {}, "at least one concept"),
        ("fog", {"fog": FOG}, None, {}, "winter.images.added_words: give the words that ask for fog"),
        ("autumn", {}, "in winter", {}, "'in winter' asks for winter, not for autumn"),
        ("summer", {}, None, {"high": ["hot", "summer"]}, "'summer' asks for summer"),
        ("fog", {"fog": {"label": "season", "value": "fog"}}, "x", {}, "season 'fog' does not exist"),
        ("fog", {"fog": {**FOG, "phrase": "x"}}, "x", {}, r"winter\.concepts\.fog\.phrase"),
        ("object", {"object": FOG}, "x", {}, "names a column of the scores"),
    ],
)
def test_what_cannot_be_steered_towards_is_refused(
    chosen: Any, concepts: Any, words: Any, resistance: Any, said: str
) -> None:
    with pytest.raises(UserErrors, match=said):
        parse_target(chosen, concepts, SEASONS_WORLD, words, resistance)


def test_a_metric_is_no_name_for_a_concept() -> None:
    with pytest.raises(UserErrors, match="'lpips' names a column of the scores"):
        parse_target("lpips", {"lpips": FOG}, SEASONS_WORLD, "x", taken=METRICS)


def test_pairs_of_another_concept_are_refused_and_pairs_that_nobody_can_judge_are_not() -> None:
    winter = [ContrastPair(3, "a house in winter at night", "a house in summer at night")]
    with pytest.raises(UserErrors, match=r"pairs\.csv: no positive side names autumn .*name winter \(season, ID 3"):
        check_pairs(parse_target("autumn", {}, SEASONS_WORLD), {"autumn": winter})
    # Both sides are at night: the pair is no contrast in it.
    with pytest.raises(UserErrors, match="no positive side names night"):
        check_pairs(parse_target("night", {}, SEASONS_WORLD), {"night": winter})
    with pytest.raises(UserErrors, match="in one file"):
        both = {name: {**one, "pairs": "pairs.csv"} for name, one in BOTH.items()}
        check_pairs(parse_target(["winter", "night"], both, SEASONS_WORLD), {"winter": winter, "night": winter})
    check_pairs(parse_target("winter", {}, SEASONS_WORLD), {"winter": winter})
    unsaid = [ContrastPair(0, "a hut, golden crowns", "a hut, green crowns")]
    check_pairs(parse_target("autumn", {}, SEASONS_WORLD), {"autumn": unsaid})
    check_pairs(parse_target("fog", {"fog": FOG}, SEASONS_WORLD, "in the fog"), {"fog": winter})


def test_a_prompt_that_holds_both_lies_as_far_on_as_each_alone_added_up() -> None:
    # One slot. Of the first 0.25 -> 1, of the second -0.25 -> 0.5; from the middle of 0.25 and -0.25, 0.75 and 0.75 on.
    first = (torch.tensor([[1.0], [1.0]]), torch.tensor([[0.0], [0.5]]))
    second = (torch.tensor([[0.5]]), torch.tensor([[-0.25]]))
    assert at_once([first, second]).tolist() == [[1.5]]


def picture(prompt: int, condition: str, season: str, time: str, **more: Any) -> dict[str, Any]:
    return {
        "prompt_id": prompt, "seed": 1, "condition": condition, "season": season, "object": "car", "colour": "red",
        "place": "street", "time": time, "prompt_similarity": 0.4, "lpips": 0.0, **more,
    }  # fmt: skip


def scored(target: Target, rows: list[dict[str, Any]]) -> Any:
    columns = {f"{target.key}_similarity": 0.3, f"{target.key}_margin": 0.1}
    prompts = pl.DataFrame(
        {"prompt_id": [0, 1], "prompt": ["a car", "a car"], "resistance": ["high", "low"], "season": ["summer", None],
         "object": ["car", "car"], "colour": [None, "red"], "place": [None, None], "time": ["day", None]},
        schema_overrides={"place": pl.String},
    )  # fmt: skip
    return score_winter(pl.DataFrame([row | columns for row in rows]), prompts, target, Bootstrap(resamples=50))


def test_the_scores_of_autumn_count_autumn() -> None:
    rows = [
        picture(0, "unsteered", "summer", "day"), picture(1, "unsteered", "winter", "day"),
        picture(0, "fixed", "autumn", "day"), picture(1, "fixed", "winter", "night"),
    ]  # fmt: skip
    metrics = flat_metrics(scored(parse_target("autumn", {}, SEASONS_WORLD), rows))
    assert metrics["a_autumn_outdoor_fixed"] == 0.5 and metrics["autumn_rate_all_fixed"] == 0.5
    assert metrics["a_autumn_outdoor_unsteered"] == 0
    assert metrics["d_season_changed_fixed"] == 0.5
    assert not [name for name in metrics if "winter" in name]


def test_two_at_once_count_where_a_picture_shows_both_and_each_alone_beside() -> None:
    rows = [
        picture(0, "unsteered", "summer", "day"), picture(1, "unsteered", "winter", "day"),
        picture(0, "fixed", "winter", "night"), picture(1, "fixed", "winter", "day"),
    ]  # fmt: skip
    found = scored(parse_target(["winter", "night"], BOTH, SEASONS_WORLD), rows)
    metrics = flat_metrics(found)
    assert metrics["a_winter_night_outdoor_fixed"] == 0.5
    assert (metrics["winter_rate_all_fixed"], metrics["night_rate_all_fixed"]) == (1.0, 0.5)
    # Prompt 1 shows what it showed; season and time are not among what is to stay.
    assert metrics["d_season_time_changed_fixed"] == 0.5
    assert "season_right_all_fixed" not in metrics and "time_right_all_fixed" not in metrics
    assert found.images["fidelity"].to_list() == [1.0] * 4


def test_of_a_concept_without_a_label_the_columns_are_what_clip_said() -> None:
    rows = [picture(0, "unsteered", "summer", "day", fog=False), picture(0, "fixed", "summer", "day", fog=True)]
    metrics = flat_metrics(scored(parse_target("fog", {"fog": FOG}, SEASONS_WORLD, "in the fog"), rows))
    assert metrics["a_fog_all_fixed"] == 1.0 and metrics["d_fog_changed_fixed"] == 1.0
    # Fog is no label, so all five labels are to stay; prompt 0 asks for summer, and has it.
    assert metrics["season_right_all_fixed"] == 1.0
