"""What collecting costs, said before: bytes as they come out, a disk that is too small, rates."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from steerwright.activations import denoiser as collect_latents
from steerwright.activations.denoiser import collect_shard, commit_collection
from steerwright.activations.estimate import (
    estimate_collection,
    estimate_from_configs,
    in_words,
    refuse_what_does_not_fit,
)
from steerwright.activations.shard_plan import CollectedPrompt, parse_collection, plan_collection
from steerwright.activations.store.reader import open_store
from steerwright.errors import UserError
from steerwright.models.without_weights import ModelWithoutWeights

NARROW, WIDE = "unet.up_blocks.3.attentions.0", "unet.mid_block.attentions.0"
PROMPTS = [CollectedPrompt(id=f"train0-prompt-{i}", prompt="a b", split="train", seed=i) for i in range(7)]


@pytest.fixture(autouse=True)
def the_loaded_model(sd21: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_latents, "load_once", lambda spec, digest: sd21)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"tokens": 5, "steps": [0, 2]},
        {"hookpoints": [NARROW], "branches": ["cond", "uncond"], "prompts_per_shard": 3},
        {"guidance": 1.0, "prompts_per_shard": 7},
    ],
)
def test_bytes_and_rows_are_those_that_come_out(sd21: Any, tmp_path: Path, asked: dict[str, Any]) -> None:
    asked = {"hookpoints": [NARROW, WIDE, f"{WIDE}:update"], "batch_size": 4, "prompts_per_shard": 4, **asked}
    collection = parse_collection(asked)
    said = estimate_collection(sd21, PROMPTS, collection, rate=2.0)
    jobs = plan_collection(sd21, PROMPTS, collection, tmp_path)
    for job in jobs:
        collect_shard(job)
    commit_collection(jobs)
    found = open_store(tmp_path).manifest
    written = sum(path.stat().st_size for path in tmp_path.glob("*.arrow"))
    # The bar is 5 %; only padding is not foreseen.
    assert abs(said.bytes - written) <= 0.005 * written
    assert said.rows == {name: sum(shard.rows[name] for shard in found.shards) for name in said.rows}
    assert (said.pictures, said.shards, said.seconds) == (7, len(found.shards), 3.5)
    assert said.memory is None


def test_without_a_rate_a_few_steps_are_timed(sd21: Any) -> None:
    said = estimate_collection(sd21, PROMPTS, parse_collection({"hookpoints": [NARROW], "batch_size": 2}))
    assert said.seconds is not None and 0 < said.seconds < 600
    # The process with its model: torch alone is more than 100 MB.
    assert said.memory is not None and said.memory > 100e6
    assert said.gpu_memory is None


def test_a_run_that_does_not_fit_stops_before_it_begins(
    sd21: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = parse_collection({"hookpoints": [NARROW], "prompts_per_shard": 4})
    jobs = plan_collection(sd21, PROMPTS, collection, tmp_path / "rows")
    needed = estimate_collection(sd21, PROMPTS, collection, rate=1.0).bytes
    free = {"bytes": needed - 1}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free["bytes"]))
    with pytest.raises(UserError, match=r"7 pictures need .* kB in .*rows, where .* kB are free") as refused:
        refuse_what_does_not_fit(sd21, jobs)
    # 64 tokens of 16 float32 values at 4 steps: 16,384 bytes a picture.
    assert "16.4 kB for each picture" in str(refused.value)
    free["bytes"] = needed
    refuse_what_does_not_fit(sd21, jobs)
    # What is there already needs no room.
    collect_shard(jobs[0])
    free["bytes"] = needed // 2
    refuse_what_does_not_fit(sd21, jobs)
    free["bytes"] = 0
    with pytest.raises(UserError, match="3 pictures need"):
        refuse_what_does_not_fit(sd21, jobs)
    collect_shard(jobs[1])
    refuse_what_does_not_fit(sd21, jobs)


@pytest.mark.parametrize(
    ("size", "words"), [(999, "999 bytes"), (1500, "1.5 kB"), (2.674e12, "2.674 TB"), (50e9, "50 GB"), (0, "0 bytes")]
)
def test_bytes_are_said_in_decimal_units(size: float, words: str) -> None:
    assert in_words(size) == words


DOUBLE = "transformer.transformer_blocks.0"


@pytest.mark.parametrize("asked", [{}, {"tokens": 5, "steps": [0, 2]}, {"prompts_per_shard": 3}])
def test_configs_alone_say_what_comes_out(
    flux: Any, flux_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
) -> None:
    monkeypatch.setattr(collect_latents, "load_once", lambda spec, digest: flux)
    points = [DOUBLE, f"{DOUBLE}:out:text", f"{DOUBLE}.ff.net.0"]
    collection = parse_collection({"hookpoints": points, "batch_size": 4, "prompts_per_shard": 4, **asked})
    configs = tmp_path / "configs"
    shutil.copytree(flux_folder("dev"), configs, ignore=shutil.ignore_patterns("*.safetensors"))
    described = ModelWithoutWeights(flux.spec.model_copy(update={"source": str(configs)}))
    said = estimate_from_configs(described, PROMPTS, collection, rate=2.0)
    jobs = plan_collection(flux, PROMPTS, collection, tmp_path / "rows")
    for job in jobs:
        collect_shard(job)
    commit_collection(jobs)
    found = open_store(tmp_path / "rows").manifest
    written = sum(path.stat().st_size for path in (tmp_path / "rows").glob("*.arrow"))
    assert abs(said.bytes - written) <= 0.005 * written
    assert said.rows == {name: sum(shard.rows[name] for shard in found.shards) for name in said.rows}
    loaded = estimate_collection(flux, PROMPTS, collection, rate=2.0)
    assert (said.pictures, said.shards, said.rows, said.bytes, said.seconds) == (
        loaded.pictures, loaded.shards, loaded.rows, loaded.bytes, loaded.seconds
    )  # fmt: skip
    assert said.weights == said.gpu_weights == described.weights().total
    assert estimate_from_configs(described, PROMPTS, collection).seconds is None


def test_what_flux_has_not_is_refused_from_configs_too(flux: Any) -> None:
    described = ModelWithoutWeights(flux.spec)
    for asked, message in (
        ({"hookpoints": ["text_encoder"]}, "not in the transformer"),
        ({"hookpoints": [DOUBLE], "branches": ["uncond"]}, "no unconditional branch"),
    ):
        with pytest.raises(UserError, match=message):
            estimate_from_configs(described, PROMPTS, parse_collection(asked))
