"""Collecting text activations into a store."""

from pathlib import Path
from typing import Any

import pytest
import torch

from steerwright.activations.prompt_tokens import token_types
from steerwright.activations.store.format import shard_name
from steerwright.activations.store.reader import open_store
from steerwright.activations.text_encoder import text_activations
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint, text_encoder_mlps
from tasks.winter.activations import collect_text

PROMPTS = {
    f"{i}:{side}": f"a {word} house number {i}" for i in range(6) for side, word in (("on", "cold"), ("off", "hot"))
}


@pytest.fixture(scope="module")
def collected(sd21: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collected") / "store"
    collect_text(sd21, PROMPTS, text_encoder_mlps(sd21.pipeline), folder, shards=3, batch_size=3)
    return folder


def test_the_store_holds_what_the_encoder_computes_at_every_layer(sd21: Any, collected: Path) -> None:
    store = open_store(collected)
    assert store.hookpoints == text_encoder_mlps(sd21.pipeline)
    direct = text_activations(sd21, list(PROMPTS.values()), store.hookpoints, "hooks")
    types = token_types(direct.token_ids, sd21.pipeline.tokenizer.eos_token_id)
    for hookpoint in store.hookpoints:
        grid = store.prompts(hookpoint, list(PROMPTS))
        torch.testing.assert_close(grid.values, direct[hookpoint])
        assert all(torch.equal(grid.types[name], mask) for name, mask in types.items())


def test_both_engines_fill_the_store_alike(sd21: Any, collected: Path, tmp_path: Path) -> None:
    collect_text(sd21, PROMPTS, text_encoder_mlps(sd21.pipeline), tmp_path, shards=3, batch_size=3, engine="hooks")
    by_hooks, by_nnsight = open_store(tmp_path), open_store(collected)
    for hookpoint in by_hooks.hookpoints:
        assert torch.equal(by_hooks.read(hookpoint), by_nnsight.read(hookpoint))


def test_one_more_pair_computes_one_shard(sd21: Any, collected: Path, tmp_path: Path) -> None:
    more = {**PROMPTS, "99:on": "snow", "99:off": "sun"}
    done: list[tuple[int, int]] = []
    computed = collect_text(
        sd21,
        more,
        text_encoder_mlps(sd21.pipeline),
        tmp_path,
        shards=3,
        batch_size=3,
        earlier={path.name: path for path in collected.iterdir()},
        progress=lambda now, total: done.append((now, total)),
    )
    assert computed == [shard_name("99", 3)]
    assert done == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert open_store(tmp_path).prompts(open_store(tmp_path).hookpoints[0], ["99:on"]).values.shape == (1, 77, 32)


@pytest.mark.parametrize("change", [{"engine": "hooks"}, {"code": "changed"}, {"batch_size": 2}])
def test_a_change_in_how_it_is_computed_reuses_nothing(
    sd21: Any, collected: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    settings = {"batch_size": 3, **change}
    earlier = {path.name: path for path in collected.iterdir()}
    mlps = text_encoder_mlps(sd21.pipeline)
    assert len(collect_text(sd21, PROMPTS, mlps, tmp_path, shards=3, earlier=earlier, **settings)) == 3


def test_a_hookpoint_that_does_not_exist_stops_before_anything_is_written(sd21: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean"):
        collect_text(sd21, PROMPTS, [Hookpoint.parse("text_encoder.encoder.layer.0.mlp")], tmp_path / "s", shards=3)
    assert not (tmp_path / "s").exists()
