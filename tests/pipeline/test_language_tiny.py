"""What the real language pipeline gives on the embedded model, small, in a copy of the checkout."""

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.slow

CONCEPTS = {"happy", "formal", "pirate"}


@pytest.fixture(scope="module")
def project(copy_of_everything: Callable[[str], Any]) -> Any:
    return copy_of_everything("language")


def table(project: Any, stage: str, name: str) -> pl.DataFrame:
    return pl.read_parquet(project.root / "artifacts" / "language" / stage / name)


def test_every_concept_is_tried_at_every_layer_and_strength_and_one_point_is_chosen(project: Any) -> None:
    sweep = table(project, "choice", "sweep.parquet")
    points = {(concept, layer, strength) for concept in CONCEPTS for layer in (3, 5) for strength in (0.5, 0.7)}
    assert set(sweep.select("concept", "layer", "strength").rows()) == points
    chosen = json.loads((project.root / "artifacts" / "language" / "choice" / "chosen.json").read_text())
    assert set(chosen) == CONCEPTS
    for row in sweep.filter("chosen").iter_rows(named=True):
        assert (row["layer"], row["strength"]) == (chosen[row["concept"]]["layer"], chosen[row["concept"]]["strength"])


def test_steering_brings_what_a_random_direction_does_not(project: Any) -> None:
    rates = table(project, "scores", "aggregate.parquet").filter(decoding="sampled")
    by_condition = {
        condition: rates.filter(condition=condition).sort("concept")["rate"].mean()
        for condition in ("unsteered", "steered", "random")
    }
    assert by_condition["steered"] > by_condition["unsteered"] + 0.3
    assert by_condition["random"] < by_condition["steered"] - 0.3


def test_scored_texts_are_whole_and_unsteered_ones_cost_the_model_what_it_thinks(project: Any) -> None:
    texts = table(project, "scores", "texts.parquet")
    assert texts.null_count()[0, texts.columns.index("perplexity")] == 0
    assert {"unsteered", "steered", "random", "instruction", "mix"} <= set(texts["condition"])
    unsteered = texts.filter(condition="unsteered")
    assert (unsteered["kl"].fill_null(0.0).abs() < 1e-6).all()
    assert set(unsteered["prompt_id"]) == set(texts.filter(condition="steered")["prompt_id"])


def test_the_report_opens_from_a_file_and_asks_for_nothing_else(project: Any) -> None:
    folder = project.root / "artifacts" / "language" / "report" / "report"
    text = (folder / "index.html").read_text()
    assert "http://" not in text.replace("http://www.w3.org/", "") and "https://" not in text and "fetch(" not in text
    assert all(name in text for name in CONCEPTS)


def test_a_second_run_does_nothing_and_another_limit_only_chooses_anew(project: Any) -> None:
    assert set(project.run("language").values()) <= {"unchanged"}
    project.edit("params.yaml", "perplexity_ratio: 1.8", "perplexity_ratio: 1.7")
    verdicts = project.run("language", "--only", "language-sweep,language-choice")
    assert verdicts == {"language-sweep": "unchanged", "language-choice": "ran"}
