"""Shards of texts on a random model: as the functions that they are made of, each file once, in any process."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from steerwright.errors import UserError
from steerwright.experiments.language import (
    LanguageTools,
    SweepShard,
    TextCondition,
    plan_answers,
    write_answers_shard,
    write_sweep_shard,
)
from steerwright.steering.language import sweep as language_sweep
from steerwright.steering.language.generate import Sampling, complete
from steerwright.steering.language.sweep import SteeringWay, asked_with_seeds
from steerwright.vectors.steering_vectors import SteeringVectors

PROMPTS = (("a", "Tell me about the lake."), ("b", "Tell me about the boat."))
DRAWN = Sampling(max_new_tokens=6)


@pytest.fixture(scope="module")
def model(language: Callable[[str], Any]) -> Any:
    return language("mistral")


@pytest.fixture(scope="module")
def tools(model: Any) -> LanguageTools:
    return LanguageTools(model.spec, model.fingerprint.digest, torch.get_num_threads(), 2)


@pytest.fixture(scope="module")
def vectors(model: Any, planted_vectors: Callable[..., SteeringVectors]) -> SteeringVectors:
    return planted_vectors(model, seed=3)


def test_a_sweep_shard_has_a_file_for_each_layer_with_the_texts_of_each_strength(
    model: Any, tools: LanguageTools, vectors: SteeringVectors, tmp_path: Path
) -> None:
    plain = SweepShard(tools, tmp_path, PROMPTS, (7, 8), DRAWN, SteeringWay())
    shard = plain.steered(5, "steered", "happy", vectors, [1, 3], [0.3, 2.0])
    # As it reaches another process.
    assert write_sweep_shard(pickle.loads(pickle.dumps(shard))) == "written"
    assert [file.name for file in shard.files] == ["5-1.parquet", "5-3.parquet"]
    asked = asked_with_seeds(PROMPTS, (7, 8))
    for layer, file in zip((1, 3), shard.files, strict=True):
        table = pl.read_parquet(file)
        for strength in (0.3, 2.0):
            own = table.filter(strength=strength)
            edits = SteeringWay().add(vectors, [layer], strength)
            alone = complete(model, [text for (_, text), _ in asked], [seed for _, seed in asked], DRAWN, edits)
            assert own["text"].to_list() == [one.text.strip() for one in alone]
            assert own.select("condition", "concept", "layer").unique().row(0) == ("steered", "happy", layer)
            assert own["prompt_id"].to_list() == ["a", "a", "b", "b"]


def test_files_that_are_there_are_kept_and_only_the_others_written(
    tools: LanguageTools, vectors: SteeringVectors, tmp_path: Path
) -> None:
    plain = SweepShard(tools, tmp_path, PROMPTS, (7,), DRAWN, SteeringWay())
    shard = plain.steered(0, "mix", "happy:1,sad:1", vectors, [0, 2], [1.0])
    assert (write_sweep_shard(plain), write_sweep_shard(shard)) == ("written", "written")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(before) == {"unsteered.parquet", "0-0.parquet", "0-2.parquet"}
    (tmp_path / "0-0.parquet").write_bytes(b"kept")
    (tmp_path / "0-2.parquet").unlink()
    assert write_sweep_shard(shard) == "written"
    assert (tmp_path / "0-0.parquet").read_bytes() == b"kept"
    assert (tmp_path / "0-2.parquet").read_bytes() == before["0-2.parquet"]
    assert (write_sweep_shard(plain), write_sweep_shard(shard)) == ("kept", "kept")


def test_answers_are_planned_in_full_batches_and_greedy_ones_need_one_seed(
    tools: LanguageTools, vectors: SteeringVectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from steerwright.experiments import language as answers_shard

    monkeypatch.setattr(answers_shard, "ROWS", 4)
    assert language_sweep.ROWS > 4
    steered = tuple(SteeringWay().add(vectors, [2], 2.0))
    planned = [
        TextCondition(("unsteered",)), TextCondition(("steered",), "happy", 2, 2.0, edits=steered),
        TextCondition(("instruction", "asked"), "happy", instruction="Be happy."),
    ]  # fmt: skip
    shards = plan_answers(tools, tmp_path, planned, PROMPTS, [3, 4], DRAWN, ["greedy", "sampled"])
    assert [(len(one.conditions), one.decoding, one.seeds) for one in shards] == [
        (2, "greedy", (3,)), (1, "greedy", (3,)), (2, "sampled", (3, 4)), (1, "sampled", (3, 4)),
    ]  # fmt: skip
    assert {one.sampling.temperature for one in shards[:2]} == {0.0}
    assert [write_answers_shard(pickle.loads(pickle.dumps(one))) for one in shards] == ["written"] * 4
    found = pl.concat([pl.read_parquet(one.file) for one in shards])
    # What is asked in words is scored twice, from one text each.
    assert found.group_by("condition").len().sort("condition").rows() == [
        ("asked", 6), ("instruction", 6), ("steered", 6), ("unsteered", 6),
    ]  # fmt: skip
    alone = plan_answers(tools, tmp_path / "alone", planned[1:2], PROMPTS, [3, 4], DRAWN, ["sampled"])
    write_answers_shard(alone[0])
    texts = found.filter(condition="steered", decoding="sampled")["text"].to_list()
    assert pl.read_parquet(alone[0].file)["text"].to_list() == texts
    assert write_answers_shard(replace(alone[0])) == "kept"


def test_sampled_texts_are_not_asked_for_without_a_temperature(tools: LanguageTools, tmp_path: Path) -> None:
    cold = Sampling(max_new_tokens=6, temperature=0.0)
    with pytest.raises(UserError, match="sampled texts would be the greedy ones"):
        plan_answers(tools, tmp_path, [TextCondition(("unsteered",))], PROMPTS, (1, 2), cold, ["sampled", "greedy"])
    own = Sampling(max_new_tokens=6, top_p=0.5, top_k=3)
    (shard,) = plan_answers(tools, tmp_path, [TextCondition(("unsteered",))], PROMPTS, (1, 2), own, ["greedy"])
    assert shard.sampling == cold
