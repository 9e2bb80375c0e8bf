"""Collecting attention outputs: shards, resuming, and rows that say the same as sums."""

from pathlib import Path
from typing import Any

import pytest
import torch

from steerwright.activations.attention import attention_moments, attention_rows, collect_attention
from steerwright.activations.moments_file import key_of, load_moments, merged
from steerwright.activations.store.reader import open_store
from steerwright.activations.store.rows import token_grid
from steerwright.errors import UserError
from steerwright.models.attention_blocks import attention_blocks
from steerwright.prompts.suite import ContrastPair
from tasks.attention.vectors import moments_of_rows

PAIRS = [ContrastPair(i, f"a b {'a ' * i}", f"b a {'b ' * i}") for i in range(5)]


@pytest.fixture
def blocks(sd21: Any) -> Any:
    return attention_blocks(sd21.pipeline)[5:8]


def test_shards_together_are_what_one_run_gives(sd21: Any, blocks: Any, tmp_path: Path) -> None:
    # Five pairs have 15 swaps, so all are drawn, and drawn together, though shards hold some of the pairs.
    computed = collect_attention(sd21, PAIRS, blocks, tmp_path, seeds=[1, 2], shards=3, shuffles=15)
    assert len(computed) == len(list(tmp_path.iterdir())) > 1
    together = merged([load_moments(path) for path in sorted(tmp_path.iterdir())])
    whole = attention_moments(sd21, PAIRS, blocks, seeds=[1, 2], shuffles=15)
    for (block, branch), sums in whole.items():
        found = together.sums[block.hookpoint, branch]
        torch.testing.assert_close(found.positive, sums.positive, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.shuffled, sums.shuffled, rtol=1e-4, atol=1e-5)
        assert len(found.shuffled) == 15
        assert found.count.tolist() == sums.count.tolist() == [10] * len(together.timesteps)


def test_what_is_there_is_not_made_again(sd21: Any, blocks: Any, tmp_path: Path) -> None:
    asked: Any = {"seeds": [1], "shards": 3, "shuffles": 1}
    first = collect_attention(sd21, PAIRS, blocks, tmp_path / "a", **asked)
    assert collect_attention(sd21, PAIRS, blocks, tmp_path / "a", **asked) == []
    (tmp_path / "a" / f"{first[0]}.safetensors").unlink()
    assert collect_attention(sd21, PAIRS, blocks, tmp_path / "a", **asked) == first[:1]
    earlier = {path.name: path for path in (tmp_path / "a").iterdir()}
    more = [*PAIRS, ContrastPair(99, "a", "b")]
    changed = collect_attention(sd21, more, blocks, tmp_path / "b", earlier=earlier, **asked)
    assert len(changed) == 1
    for path in (tmp_path / "b").iterdir():
        same = path.read_bytes() == earlier[path.name].read_bytes() if path.name in earlier else False
        assert same == (path.stem not in changed)
    assert len(collect_attention(sd21, PAIRS, blocks, tmp_path / "a", seeds=[2], shards=3)) == len(first)


def test_both_branches_are_kept_apart(sd21: Any, blocks: Any) -> None:
    both = attention_moments(sd21, PAIRS[:2], blocks[:1], seeds=[0], branches=("cond", "uncond"))
    cond, uncond = both[blocks[0], "cond"], both[blocks[0], "uncond"]
    # The unconditional half has seen neither prompt at the first step, so both sides agree there to the last bit.
    assert torch.equal(uncond.positive[0], uncond.negative[0])
    assert not torch.equal(cond.positive[0], cond.negative[0])
    alone = attention_moments(sd21, PAIRS[:2], blocks[:1], seeds=[0], branches=("cond", "uncond"), guidance=1.0)
    assert alone[blocks[0], "uncond"].count.sum() == 0
    assert alone[blocks[0], "cond"].count.min() == 2


def test_rows_say_what_sums_say(sd21: Any, blocks: Any, tmp_path: Path) -> None:
    collect_attention(sd21, PAIRS, blocks, tmp_path, keep="rows", seeds=[1, 2], shards=2, shuffles=6)
    sums = attention_moments(sd21, PAIRS, blocks, seeds=[1, 2], shuffles=6)
    steps = len(next(iter(sums.values())).count)
    found = moments_of_rows(open_store(tmp_path), steps=steps, shuffles=6)
    for (block, branch), expected in sums.items():
        torch.testing.assert_close(found[block.hookpoint, branch].positive, expected.positive, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found[block.hookpoint, branch].shuffled, expected.shuffled, rtol=1e-4, atol=1e-5)
    assert collect_attention(sd21, PAIRS, blocks, tmp_path, keep="rows", seeds=[1, 2], shards=2, shuffles=6) == []


def test_a_reader_that_leaves_stops_the_model(sd21: Any, blocks: Any) -> None:
    import threading

    hookpoints = [block.hookpoint for block in blocks]
    before = threading.active_count()
    rows = attention_rows(sd21, PAIRS, hookpoints, seeds=[0, 1, 2])
    next(rows)
    rows.close()
    assert threading.active_count() == before
    assert not any(module._forward_hooks for module in sd21.pipeline.unet.modules())


def test_grids_need_not_be_square() -> None:
    assert token_grid(64, 512, 512) == (8, 8)
    assert token_grid(96, 512, 768) == (8, 12)
    with pytest.raises(ValueError, match="no grid"):
        token_grid(97, 512, 768)


def test_a_damaged_shard_is_collected_again_and_never_read(sd21: Any, blocks: Any, tmp_path: Path) -> None:
    name, *_ = collect_attention(sd21, PAIRS[:1], blocks, tmp_path, seeds=[1], shards=1)
    path = tmp_path / f"{name}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert key_of(path) is None
    with pytest.raises(UserError, match="damaged"):
        load_moments(path)
    assert collect_attention(sd21, PAIRS[:1], blocks, tmp_path, seeds=[1], shards=1) == [name]
    assert path.read_bytes() == whole
