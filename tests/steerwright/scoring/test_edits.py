"""Scores of edits by hand-made pictures whose answers are known."""

from typing import Any

import polars as pl
import pytest

from seasons.label_set import SEASONS_WORLD
from steerwright.scoring.edits import EditScores, compare, flat_metrics, score_edits
from steerwright.stats.bootstrap import Bootstrap
from steerwright.steering.attention import EditSpec

ERASE = EditSpec(action="erase", concept="horse", suite="s", strengths=(1.0,), goal=0.9)
ADD = EditSpec(action="add", concept="winter", suite="s", strengths=(1.0,), goal=0.9)
BOOTSTRAP = Bootstrap(resamples=200, seed=1)


def picture(prompt: int, condition: str, **columns: Any) -> dict[str, Any]:
    row = {
        "edit": "e", "prompt_id": prompt, "seed": 0, "condition": condition,
        "strength": 1.0 if condition in ("steered", "random") else 0.0, "operating": True, "kind": "contains",
        "setting": "outdoor", "concept_by_labels": False, "concept_by_clip": False, "concept_probability": 0.0,
        "prompt_similarity": 0.5, "lpips": 0.0, "others_kept": 1.0, "changed": False, "season_right": None,
        "object_right": None, "colour_right": None, "place_right": None, "time_right": None,
    }  # fmt: skip
    return row | columns


def table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    rights = {f"{label}_right": pl.Boolean for label in ("season", "object", "colour", "place", "time")}
    return pl.DataFrame(rows, schema_overrides=rights, infer_schema_length=None)


def answers(edit: EditSpec, rows: list[dict[str, Any]], condition: str = "steered") -> dict[tuple[str, str], Any]:
    found = compare(table(rows), {"e": edit}, SEASONS_WORLD, BOOTSTRAP).filter(condition=condition)
    return {(row["measure"], row["kind"]): row for row in found.iter_rows(named=True)}


def test_erasing_is_asked_about_where_the_concept_is_and_where_it_is_not() -> None:
    rows = [picture(i, "steered", concept_by_labels=i < 1) for i in range(8)]
    rows += [picture(10 + i, "steered", kind="other", changed=i < 3, lpips=0.01 * i) for i in range(5)]
    rows += [picture(20, "steered", kind="neighbour")]
    found = answers(ERASE, rows)
    present = found["concept by labels", "contains"]
    assert (present["estimate"], present["prompts"], present["met"]) == (pytest.approx(1 / 8), 8, False)
    changed = found["changed", "without"]
    assert (changed["estimate"], changed["images"], changed["met"]) == (pytest.approx(3 / 6), 6, False)
    distance = found["lpips", "without"]
    assert (distance["estimate"], distance["met"]) == (pytest.approx((0 + 1 + 2 + 3 + 4) / 100 / 6), True)


def test_adding_compares_right_labels_with_the_unsteered_ones() -> None:
    rows = [picture(i, "unsteered", object_right=i < 8) for i in range(10)]
    rows += [picture(i, "steered", object_right=i < 6, concept_by_labels=True) for i in range(10)]
    rows += [picture(99, "steered", setting="indoor", concept_by_labels=False, object_right=None)]
    found = answers(ADD, rows)
    assert found["concept by labels", "outdoor"]["estimate"] == 1.0
    assert found["concept by labels", "outdoor"]["met"] is True
    assert found["object right", "all"]["estimate"] == pytest.approx(6 / 8)
    assert found["object right", "all"]["met"] is False
    assert ("place right", "all") not in found


def test_replacing_looks_for_the_target() -> None:
    replacing = EditSpec(action="replace", concept="cat", target="horse", suite="s", strengths=(1.0,), goal=0.9)
    found = answers(replacing, [picture(i, "steered", concept_by_labels=i < 9) for i in range(10)])
    assert found["concept by labels", "contains"]["estimate"] == pytest.approx(0.9)
    assert found["concept by labels", "contains"]["met"] is True


def test_controls_stand_beside_without_a_bar() -> None:
    rows = [picture(i, condition, concept_by_labels=True) for i in range(4) for condition in ("steered", "random")]
    beside = answers(ERASE, rows, "random")["concept by labels", "contains"]
    assert (beside["estimate"], beside["bar"], beside["met"]) == (1.0, "", None)


def scored(rows: list[dict[str, Any]], features: list[list[float]]) -> EditScores:
    return score_edits(table(rows), pl.Series(features), {"e": ERASE}, SEASONS_WORLD, BOOTSTRAP)


def test_fid_compares_with_the_unsteered_pictures_of_the_same_prompts() -> None:
    rows = [picture(i, condition) for condition in ("unsteered", "steered", "random") for i in range(3)]
    near = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    moved = [[x + 3.0, y] for x, y in near]
    found = scored(rows, [*near, *near, *moved]).aggregate.filter(metric="fid")
    by_condition = {row["condition"]: row for row in found.iter_rows(named=True)}
    assert by_condition["steered"]["estimate"] == pytest.approx(0.0, abs=1e-9)
    # The same shape, three to the right: the squared distance of the means, and nothing else.
    assert by_condition["random"]["estimate"] == pytest.approx(9.0)
    assert by_condition["random"]["low"] is None
    assert "unsteered" not in by_condition


def test_the_sweep_is_kept_apart_by_strength() -> None:
    rows = [picture(i, "unsteered") for i in range(3)]
    for strength, share in ((0.5, 0.0), (1.0, 1.0)):
        rows += [
            picture(i, "steered", strength=strength, operating=strength == 1.0, concept_by_clip=share == 1.0)
            for i in range(3)
        ]
    curve = scored(rows, [[float(i), float(i % 3)] for i in range(9)]).aggregate.filter(
        metric="concept_by_clip", kind="contains", condition="steered"
    )
    assert dict(curve.select("strength", "estimate").iter_rows()) == {0.5: 0.0, 1.0: 1.0}


def test_metrics_hold_each_answer_with_its_interval() -> None:
    rows = [picture(i, condition) for condition in ("unsteered", "steered") for i in range(3)]
    metrics = flat_metrics(scored(rows, [[float(i)] for i in range(6)]))
    assert metrics["e"]["concept_by_labels_contains_steered"] == 0.0
    assert metrics["e"]["concept_by_labels_contains_steered_high"] == 0.0
