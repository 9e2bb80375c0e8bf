"""The activation store: what is written reads back, survives kills, and is reused shard by shard."""

import errno
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from steerwright.activations.prompt_tokens import TEXT_TOKEN_TYPES
from steerwright.activations.store.format import shard_key, shard_name
from steerwright.activations.store.reader import Store, open_store
from steerwright.activations.store.rows import TOKEN_TYPES, Rows
from steerwright.activations.store.writer import StoreWriter
from steerwright.errors import UserError
from steerwright.models.families import Step
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint

MODEL = Fingerprint(name="toy", source="toy", revision=None, digest="d" * 64, libraries={"torch": "2"})
TEXT = Hookpoint.parse("text_encoder.encoder.layers.0.mlp:out")
MIDDLE = Hookpoint.parse("unet.mid_block:out")
KEY = "k" * 64


def writer(folder: Path, dtype: Any = "float32", **settings: Any) -> StoreWriter:
    made = {"model": MODEL, "hookpoints": [TEXT, MIDDLE], "provenance": {"engine": "hooks"}, **settings}
    return StoreWriter(folder, dtype=dtype, **made)


def values(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def text_rows(prompts: list[str], tensor: Tensor) -> Rows:
    types = torch.tensor([0, *[1] * (tensor.shape[1] - 3), 2, 3]).expand(tensor.shape[:2])
    return Rows(TEXT, tensor, prompts, token_types=types)


def store_of(folder: Path, tensor: Tensor, dtype: Any = "float32") -> Store:
    prompts = [f"p{i}" for i in range(len(tensor))]
    with writer(folder, dtype) as store:
        store.write_shard("0-of-1", KEY, prompts, [text_rows(prompts, tensor)])
    return open_store(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_bit_reads_back_in_the_models_dtype(tmp_path: Path, dtype: Any) -> None:
    tensor = values(3, 5, 8, dtype=getattr(torch, dtype))
    tensor[0, 0, 0], tensor[0, 0, 1] = -0.0, 1e-7  # a negative zero, and a subnormal of half precision
    store = store_of(tmp_path, tensor, dtype)
    found = store.prompts(TEXT, ["p2", "p0"]).values
    assert found.dtype == tensor.dtype
    bits = torch.int32 if dtype == "float32" else torch.int16
    assert torch.equal(found.view(bits), tensor[[2, 0]].contiguous().view(bits))
    assert torch.equal(store.read(TEXT).view(bits), tensor.reshape(15, 8).view(bits))


def test_every_row_says_where_when_and_of_what_it_is(tmp_path: Path) -> None:
    step = Step(index=3, timestep=661.0, sigma=math.inf)
    rows = Rows(MIDDLE, values(2, 6, 4), ["b", "a"], seeds=[7, 8], step=step, branch="uncond", grid=(2, 3))
    with writer(tmp_path) as store:
        store.write_shard("0-of-1", KEY, ["a", "b"], [rows, text_rows(["a"], values(1, 5, 8))])
    opened = open_store(tmp_path)
    index = opened.index(MIDDLE)
    assert index["prompt"].to_list() == ["b"] * 6 + ["a"] * 6
    assert index["seed"].to_list() == [7] * 6 + [8] * 6
    assert index["token"].to_list() == [0, 1, 2, 3, 4, 5] * 2
    constant = {"hookpoint": str(MIDDLE), "step": 3, "timestep": 661.0, "sigma": math.inf, "branch": "uncond"}
    for column, value in {**constant, "token_type": "image"}.items():
        assert index[column].unique().to_list() == [value]
    assert opened.layout(MIDDLE).grid == (2, 3)
    text = opened.index(TEXT)
    assert text.select("step", "timestep", "sigma", "seed").null_count().row(0) == (5, 5, 5, 5)
    assert text["token_type"].to_list() == ["bos", "content", "content", "eos", "padding"]
    assert text["branch"].unique().to_list() == ["none"]


def test_other_readers_of_arrow_open_a_shard(tmp_path: Path) -> None:
    tensor = values(2, 5, 8)
    store_of(tmp_path, tensor)
    (path,) = tmp_path.glob("*.arrow")
    frame = pl.read_ipc(path)
    assert frame.columns == [
        "hookpoint", "step", "timestep", "sigma", "branch", "prompt", "seed", "token", "token_type", "values"
    ]  # fmt: skip
    assert frame["values"].to_list() == tensor.reshape(10, 8).tolist()


def test_reading_copies_nothing(tmp_path: Path) -> None:
    store_of(tmp_path, values(64, 16, 256))  # 1 MiB of values
    before = pa.total_allocated_bytes()
    tensor = open_store(tmp_path).read(TEXT)
    assert tensor.shape == (1024, 256)
    assert pa.total_allocated_bytes() - before < 100_000
    # The tensor's memory is a mapping of the file, by the kernel's own account.
    (path,) = tmp_path.glob("*.arrow")
    ranges = [
        line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines() if path.name in line
    ]
    assert any(int(low, 16) <= tensor.data_ptr() < int(high, 16) for low, high in ranges)


def test_a_shard_is_streamed(tmp_path: Path) -> None:
    alive = 0

    class Tracked(Rows):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    most = 0

    def rows() -> Iterator[Rows]:
        nonlocal alive, most
        for i in range(50):
            alive += 1
            most = max(most, alive)
            made = text_rows([f"p{i}"], values(1, 5, 8))
            yield Tracked(made.hookpoint, made.values, made.prompts, token_types=made.token_types)

    with writer(tmp_path) as store:
        store.write_shard("0-of-1", KEY, [f"p{i}" for i in range(50)], rows())
    assert most <= 2
    assert open_store(tmp_path).read(TEXT).shape == (250, 8)


def test_rows_that_are_not_finite_are_dropped_and_counted(tmp_path: Path) -> None:
    tensor = values(3, 5, 8)
    tensor[1, 2, 3], tensor[1, 4, 0] = torch.nan, -torch.inf
    store = store_of(tmp_path, tensor)
    (shard,) = store.manifest.shards
    assert (shard.rows, shard.dropped) == ({str(TEXT): 13}, {str(TEXT): 2})
    kept = torch.ones(15, dtype=torch.bool)
    kept[[7, 9]] = False
    assert torch.equal(store.read(TEXT), tensor.reshape(15, 8)[kept])
    assert torch.equal(store.prompts(TEXT, ["p0", "p2"]).values, tensor[[0, 2]])
    with pytest.raises(UserError, match=r"2 tokens of prompt 'p1' .* were not finite"):
        store.prompts(TEXT, ["p1"])


def test_token_types_come_with_the_grid(tmp_path: Path) -> None:
    types = store_of(tmp_path, values(2, 5, 8)).prompts(TEXT, ["p1"]).types
    assert set(types) == set(TOKEN_TYPES) == {*TEXT_TOKEN_TYPES, "image"} and TOKEN_TYPES[:4] == TEXT_TOKEN_TYPES
    assert types["content"].tolist() == [[False, True, True, False, False]]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    store = store_of(tmp_path, values(2, 5, 8))
    with pytest.raises(UserError, match="no prompt 'p9'"):
        store.prompts(TEXT, ["p9"])
    with pytest.raises(UserError, match=f"has no hookpoint {MIDDLE}; it has {TEXT}"):
        store.read(MIDDLE)
    with pytest.raises(UserError, match="no activation store"):
        open_store(tmp_path / "absent")


def test_prompts_of_several_steps_are_not_mixed(tmp_path: Path) -> None:
    parts = [Rows(MIDDLE, values(1, 4, 4), ["a"], seeds=[0], step=Step(i, 9.0 - i, 1.0)) for i in range(2)]
    with writer(tmp_path) as store:
        store.write_shard("0-of-1", KEY, ["a"], parts)
    with pytest.raises(UserError, match="recorded 2 times"):
        open_store(tmp_path).prompts(MIDDLE, ["a"])


def test_an_unfinished_store_is_refused(tmp_path: Path) -> None:
    store = writer(tmp_path)
    store.write_shard("0-of-1", KEY, ["p0"], [text_rows(["p0"], values(1, 5, 8))])
    with pytest.raises(UserError, match="not finished"):
        open_store(tmp_path)


def test_a_cut_file_and_a_flipped_bit_are_found(tmp_path: Path) -> None:
    store = store_of(tmp_path, values(2, 5, 8))
    store.verify()
    (path,) = tmp_path.glob("*.arrow")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="its hash differs"):
        open_store(tmp_path).verify()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match="damaged"):
        open_store(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[]", "not an activation store"),
        ('{"format": "steerwright.activations", "schema_version": 2}', "2"),
    ],
)
def test_a_damaged_or_newer_manifest_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=message):
        open_store(tmp_path)


def test_the_manifest_has_hash_and_size_of_every_file(tmp_path: Path) -> None:
    store_of(tmp_path, values(2, 5, 8))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    ((entry,),) = (shard["files"] for shard in manifest["shards"])
    content = (tmp_path / entry["path"]).read_bytes()
    assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert (entry["bytes"], entry["rows"], entry["width"]) == (len(content), 10, 8)
    assert manifest["model"]["digest"] == MODEL.digest


def test_the_same_rows_have_the_same_bytes(tmp_path: Path) -> None:
    store_of(tmp_path / "a", values(2, 5, 8))
    store_of(tmp_path / "b", values(2, 5, 8))
    assert files(tmp_path / "a") == files(tmp_path / "b")


def write_all(folder: Path, prompts: list[str], shards: int = 4, **settings: Any) -> list[str]:
    """A store of one row per prompt id, each with values of its own; the shards that had to be computed."""
    members: dict[str, list[str]] = {}
    for prompt in sorted(prompts):
        members.setdefault(shard_name(prompt, shards), []).append(prompt)
    computed = []
    with writer(folder, **settings) as store:
        for name, ids in members.items():
            key = shard_key(ids)
            if not store.reuse(name, key):
                tensor = torch.cat([values(1, 5, 8, seed=int(id_)) for id_ in ids])
                store.write_shard(name, key, ids, [text_rows(ids, tensor)])
                computed.append(name)
    return computed


def as_earlier(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.iterdir()}


def test_one_more_item_computes_only_its_shard_and_links_the_others(tmp_path: Path) -> None:
    prompts = [str(i) for i in range(20)]
    assert len(write_all(tmp_path / "old", prompts)) == 4
    assert write_all(tmp_path / "new", [*prompts, "20"], earlier=as_earlier(tmp_path / "old")) == [shard_name("20", 4)]
    shared = [path for path in (tmp_path / "new").glob("*.arrow") if path.stat().st_nlink == 2]
    assert len(shared) == 3
    # The same bytes as without any reuse
    write_all(tmp_path / "fresh", [*prompts, "20"])
    assert files(tmp_path / "new") == files(tmp_path / "fresh")


def test_both_sides_of_a_pair_share_a_shard() -> None:
    assert len({shard_name(f"17:{side}", 64) for side in ("positive", "negative")} | {shard_name("17", 64)}) == 1


def test_the_shard_of_an_id_is_what_the_format_page_says() -> None:
    # `printf 7 | sha256sum` begins with 7902699be42c8a8e, and 0x7902699be42c8a8e % 8 = 0xe % 8 = 6.
    assert shard_name("7:positive", 8) == "6-of-8"
    assert shard_name("7", 16) == "14-of-16"


def test_items_spread_over_the_shards() -> None:
    names = [shard_name(str(i), 8) for i in range(800)]
    assert all(60 <= names.count(name) <= 140 for name in set(names))
    assert len(set(names)) == 8


def test_where_links_are_impossible_shards_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    write_all(tmp_path / "old", ["1", "2"])
    monkeypatch.setattr(os, "link", refuse)
    assert write_all(tmp_path / "new", ["1", "2"], earlier=as_earlier(tmp_path / "old")) == []
    assert files(tmp_path / "new") == files(tmp_path / "old")


def test_nothing_is_reused_from_another_model_or_a_lacking_file(tmp_path: Path) -> None:
    everything = write_all(tmp_path / "old", ["1", "2", "3"])
    other = MODEL.model_copy(update={"digest": "e" * 64})
    assert write_all(tmp_path / "a", ["1", "2", "3"], model=other, earlier=as_earlier(tmp_path / "old")) == everything
    lacking = {name: path for name, path in as_earlier(tmp_path / "old").items() if name == "manifest.json"}
    assert write_all(tmp_path / "b", ["1", "2", "3"], earlier=lacking) == everything


def test_a_writer_killed_in_a_shard_leaves_only_the_finished_ones(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_reader as t
        folder = Path({str(tmp_path / "store")!r})
        class Killed(t.StoreWriter):
            def write_shard(self, name, key, ids, rows):
                def then_die():
                    yield from rows
                    if len(self._shards) == 2:
                        os.kill(os.getpid(), signal.SIGKILL)
                return super().write_shard(name, key, ids, then_die())
        t.StoreWriter = Killed
        t.write_all(folder, [str(i) for i in range(20)])
    """)
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[4], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    left = files(tmp_path / "store")
    assert any(name.startswith(".") for name in left)  # the shard it died in
    with pytest.raises(UserError, match="not finished"):
        open_store(tmp_path / "store")
    assert len(write_all(tmp_path / "store", [str(i) for i in range(20)])) == 2
    write_all(tmp_path / "undisturbed", [str(i) for i in range(20)])
    assert files(tmp_path / "store") == files(tmp_path / "undisturbed")


def test_a_second_kill_while_taking_over_shards_loses_none(tmp_path: Path) -> None:
    prompts = [str(i) for i in range(20)]
    write_all(tmp_path, prompts)
    restarted = writer(tmp_path)
    name = shard_name("0", 4)
    ids = sorted(prompt for prompt in prompts if shard_name(prompt, 4) == name)
    assert restarted.reuse(name, shard_key(ids))
    del restarted  # killed here, after the first of four
    assert write_all(tmp_path, prompts) == []


@pytest.mark.parametrize("error", [Exception("a bug"), KeyboardInterrupt()])
def test_an_exception_in_a_shard_leaves_nothing_of_it(tmp_path: Path, error: BaseException) -> None:
    def rows() -> Iterator[Rows]:
        yield text_rows(["a"], values(1, 5, 8))
        raise error

    store = writer(tmp_path)
    with pytest.raises(type(error)):
        store.write_shard("0-of-1", KEY, ["a"], rows())
    assert files(tmp_path) == {}


def test_a_full_disk_is_one_message_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = writer(tmp_path)
    store.write_shard("0-of-2", KEY, ["a"], [text_rows(["a"], values(1, 5, 8))])
    before = files(tmp_path)
    monkeypatch.setattr("steerwright.activations.store.writer._HashingFile.write", full)
    with pytest.raises(UserError, match=r"No space is left .* 1 finished shards are kept"):
        store.write_shard("1-of-2", KEY, ["b"], [text_rows(["b"], values(1, 5, 8))])
    assert files(tmp_path) == before
