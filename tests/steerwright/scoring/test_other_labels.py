"""Scores by the labels of another world than the seasons': streets with a weather and a vehicle."""

from typing import Any

import polars as pl
import pytest

from steerwright.errors import UserErrors
from steerwright.prompts.label_set import LabelSet
from steerwright.scoring.edits import compare
from steerwright.scoring.judgements import measured_columns
from steerwright.scoring.target import parse_target
from steerwright.scoring.winter import score_winter
from steerwright.stats.bootstrap import Bootstrap
from steerwright.steering.attention import EditSpec

STREETS = LabelSet(
    name="the streets",
    values={"weather": ("fog", "rain"), "vehicle": ("tram", "bus")},
    named_by={
        "weather": {"fog": ("fog", "in the mist"), "rain": ("rain",)},
        "vehicle": {"tram": ("tram",), "bus": ("bus",)},
    },
    phrases={
        "weather": {"fog": ("a foggy street",), "rain": ("a wet street",)},
        "vehicle": {"tram": ("a tram",), "bus": ("a bus",)},
    },
    asked_by={"weather": {"fog": "in the mist"}},
    outdoors_only=frozenset({"weather"}),
)
BOOTSTRAP = Bootstrap(resamples=50, seed=1)
PROMPTS = pl.DataFrame(
    {"prompt_id": [0, 1], "prompt": ["a tram", "a bus"], "resistance": "low", "vehicle": ["tram", "bus"]}
)


def picture(prompt: int, condition: str, weather: str, vehicle: str) -> dict[str, Any]:
    return {"prompt_id": prompt, "seed": 1, "condition": condition, "weather": weather, "vehicle": vehicle,
            "fog_similarity": 0.5, "fog_margin": 0.1, "prompt_similarity": 0.3, "lpips": 0.2}  # fmt: skip


def test_a_prompt_names_values_by_the_sets_own_words() -> None:
    assert STREETS.named("A Tram in the mist") == {"weather": "fog", "vehicle": "tram"}
    assert STREETS.named("a bus and a tram in a trambus") == {"weather": None, "vehicle": None}
    assert (STREETS.label_of("rain"), STREETS.label_of("winter")) == ("weather", None)


def test_a_target_and_its_scores_follow_the_label_set() -> None:
    fog = parse_target("fog", {}, STREETS)
    assert (fog.added_words, fog.kept_labels, fog.outdoors) == ("in the mist", ("vehicle",), True)
    assert {"weather", "vehicle"} < set(measured_columns(fog)) and "season" not in measured_columns(fog)
    with pytest.raises(UserErrors, match=r"how pictures show 'winter'.*one of fog, rain, tram, bus"):
        parse_target("winter", {}, STREETS)
    rows = [picture(0, "unsteered", "rain", "tram"), picture(1, "unsteered", "fog", "bus"),
            picture(0, "fixed", "fog", "tram"), picture(1, "fixed", "fog", "tram")]  # fmt: skip
    scores = score_winter(pl.DataFrame(rows), PROMPTS, fog, BOOTSTRAP)
    found = {row["name"]: row["estimate"] for row in scores.comparisons.iter_rows(named=True)}
    # Fog in one of two pictures before, in both after; one of two vehicles is right after, both were before.
    assert (found["a_fog_outdoor_unsteered"], found["a_fog_outdoor_fixed"]) == (0.5, 1.0)
    assert (found["b_vehicle_right_fixed"], found["d_weather_changed_fixed"]) == (0.5, 0.5)
    assert set(scores.images["setting"].to_list()) == {"outdoor"}


def test_adding_holds_what_indoor_pictures_show_too() -> None:
    common = {"edit": "e", "prompt_id": 0, "seed": 1, "operating": True, "setting": "outdoor", "kind": "other",
              "concept_by_labels": True, "concept_by_clip": True}  # fmt: skip
    rows = [common | {"condition": one, "weather_right": True, "vehicle_right": one == "unsteered"}
            for one in ("unsteered", "steered")]  # fmt: skip
    edit = EditSpec(action="add", concept="fog", suite="s", strengths=(1.0,), goal=0.9)
    found = compare(pl.DataFrame(rows), {"e": edit}, STREETS, BOOTSTRAP).filter(condition="steered")
    held = dict(found.filter(pl.col("measure").str.ends_with("right")).select("measure", "estimate").iter_rows())
    assert held == {"vehicle right": 0.0}
