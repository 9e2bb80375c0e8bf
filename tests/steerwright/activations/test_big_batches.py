"""Rows gathered into big record batches: the same rows, whatever gathered them, and read back by forward."""

import ctypes
import hashlib
import mmap
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from steerwright.activations.store.arrow import ArrowFile
from steerwright.activations.store.format import Manifest
from steerwright.activations.store.reader import Store, open_store
from steerwright.activations.store.rows import Rows
from steerwright.activations.store.writer import ShardWriter
from steerwright.errors import UserError
from steerwright.models.families import Step
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.running import Branch

MODEL = Fingerprint(name="toy", source="toy", revision=None, digest="d" * 64, libraries={"torch": "2"})
LEFT, RIGHT = Hookpoint.parse("unet.left:out"), Hookpoint.parse("unet.right:update")
IDS = [f"p{i}" for i in range(6)]
BRANCHES: tuple[Branch, ...] = ("uncond", "cond")


def forwards(dtype: torch.dtype = torch.float32, tokens: int = 4, width: int = 8) -> list[Rows]:
    """Three batches of two pictures, three steps, two branches, two hookpoints of the same width."""
    generator, made = torch.Generator().manual_seed(0), []
    for first in (0, 2, 4):
        for number in range(3):
            for hookpoint in (LEFT, RIGHT):
                for branch in BRANCHES:
                    values = torch.randn(2, tokens, width, generator=generator).to(dtype)
                    ids, step = IDS[first : first + 2], Step(number, 900.0 - number, 2.0 + number)
                    made.append(Rows(hookpoint, values, ids, [first, first + 1], step, branch, (2, tokens // 2)))
    return made


def written(folder: Path, rows: list[Rows], dtype: Any = "float32", batch_bytes: int = 0) -> Store:
    folder.mkdir(parents=True, exist_ok=True)
    names = [str(LEFT), str(RIGHT)]
    with ShardWriter(
        folder, "train-0", "k" * 64, IDS, dtype=dtype, hookpoints=names, batch_bytes=batch_bytes
    ) as writer:
        for part in rows:
            writer.add(part)
        shard = writer.commit()
    Manifest(complete=True, model=MODEL, dtype=dtype, provenance={}, shards=(shard,)).write(folder)
    return open_store(folder)


def table(store: Store, hookpoint: Hookpoint) -> pl.DataFrame:
    values = store.read(hookpoint).float().numpy()
    return store.index(hookpoint).with_columns(values=pl.Series(values, dtype=pl.Array(pl.Float32, values.shape[1])))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("batch_bytes", [1, 1000, 1 << 20])
def test_rows_are_the_same_however_they_are_gathered(tmp_path: Path, dtype: Any, batch_bytes: int) -> None:
    """The other route: a record batch for every forward."""
    rows = forwards(getattr(torch, dtype))
    plain = written(tmp_path / "plain", rows, dtype)
    big = written(tmp_path / "big", rows, dtype, batch_bytes)
    for hookpoint in (LEFT, RIGHT):
        assert table(big, hookpoint).equals(table(plain, hookpoint))
        assert big.read(hookpoint).dtype == getattr(torch, dtype)
    blocks = len(list(big.blocks(LEFT)))
    size = 8 * torch.empty(0, dtype=getattr(torch, dtype)).itemsize
    # 144 rows; a batch takes as many whole pictures (4 rows) as fit, one at least.
    rows_of_a_batch = max(4, batch_bytes // size // 4 * 4)
    assert blocks == -(-144 // min(144, rows_of_a_batch))


def test_batches_are_single_forwards_or_parts_of_them(tmp_path: Path) -> None:
    store = written(tmp_path, forwards(), batch_bytes=1 << 20)
    assert [len(values) for values, _ in store.blocks(LEFT)] == [144]
    seen = []
    for values, batch in store.batches(LEFT):
        assert len(values) == batch.num_rows == 8
        assert torch.equal(values, torch.from_dlpack(batch.column("values").flatten()).reshape(8, 8))
        steps, branches = set(batch.column("step").to_pylist()), set(batch.column("branch").to_pylist())
        assert len(steps) == len(branches) == 1
        seen.append((*steps, *branches, batch.column("prompt")[0].as_py()))
    assert seen == [(s, b, p) for p in ("p0", "p2", "p4") for s in range(3) for b in BRANCHES]


def test_a_stream_gives_every_value_in_the_order_of_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steerwright.activations.store.reader._READ_BYTES", 5 * 32 + 1)  # five rows at a time
    store = written(tmp_path, forwards(), batch_bytes=2000)
    parts = [part.clone() for part in store.stream(RIGHT)]
    assert max(map(len, parts)) == 5
    assert torch.equal(torch.cat(parts), store.read(RIGHT))


def test_rows_that_are_not_finite_are_left_out_of_a_big_batch(tmp_path: Path) -> None:
    rows = forwards()
    rows[0].values[1, 2, 3] = torch.nan
    rows[0].values[0, 0, 0] = torch.inf
    rows[4].values[:] = -torch.inf
    plain = written(tmp_path / "plain", rows)
    big = written(tmp_path / "big", rows, batch_bytes=1 << 20)
    assert big.manifest.shards[0].dropped == plain.manifest.shards[0].dropped == {str(LEFT): 10, str(RIGHT): 0}
    assert table(big, LEFT).equals(table(plain, LEFT))


def test_huge_values_are_finite(tmp_path: Path) -> None:
    rows = forwards()
    rows[0].values[:] = 3e38  # their sum is beyond float32
    assert written(tmp_path, rows, batch_bytes=1000).manifest.shards[0].dropped[str(LEFT)] == 0


def test_a_sample_of_tokens_says_which_they_are(tmp_path: Path) -> None:
    rows = forwards()[0]
    kept = torch.tensor([[0, 3], [1, 2]])
    sampled = Rows(LEFT, rows.values[:, :2], rows.prompts, rows.seeds, rows.step, "cond", (2, 2), positions=kept)
    for place, batch_bytes in (("a", 0), ("b", 1000)):
        store = written(tmp_path / place, [sampled], batch_bytes=batch_bytes)
        assert store.index(LEFT)["token"].to_list() == [0, 3, 1, 2]
        assert store.layout(LEFT).grid == (2, 2)
        with pytest.raises(UserError, match="only a sample of the tokens"):
            store.prompts(LEFT, ["p0"])


def test_rows_of_another_kind_are_refused(tmp_path: Path) -> None:
    rows = forwards()[0]
    bad = [
        Rows(LEFT, rows.values.double(), rows.prompts, rows.seeds, rows.step, "cond"),
        Rows(LEFT, rows.values, rows.prompts[:1], rows.seeds, rows.step, "cond"),
        Rows(LEFT, rows.values, rows.prompts, None, rows.step, "cond"),
        Rows(LEFT, rows.values, rows.prompts, rows.seeds, None, "cond"),
    ]
    for one in bad:
        with pytest.raises(ValueError, match=r"unet\.left"):
            written(tmp_path, [one], batch_bytes=1000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("batch_bytes", [0, 700])
def test_where_things_lie_in_a_file_is_where_arrow_reads_them(tmp_path: Path, batch_bytes: int) -> None:
    store = written(tmp_path, forwards(), batch_bytes=batch_bytes)
    (path,) = tmp_path.glob("*.arrow")
    file, content = ArrowFile(path), path.read_bytes()
    found: dict[str, list[int]] = {str(LEFT): [], str(RIGHT): []}
    for number in range(len(file)):
        batch = file.batch(number)
        values = batch.column("values").flatten().to_numpy()
        at = file.values_at(number)
        assert content[at : at + values.nbytes] == values.tobytes()
        assert file.rows(number) == batch.num_rows
        assert file.index(number).equals(batch.drop_columns(["values"]))
        assert file.hookpoint(number) == batch.column("hookpoint")[0].as_py()
        found[file.hookpoint(number) or ""].append(number)
        memory = bytearray(values.nbytes - 8)
        file.read_values(number, memoryview(memory), 8)
        assert bytes(memory) == values.tobytes()[8:]
    assert [number for _, number in store.places(RIGHT)] == found[str(RIGHT)]


def test_looking_for_rows_reads_none_of_their_values(tmp_path: Path) -> None:
    """Had they been read, the file would be in the system's memory."""
    store = written(tmp_path, forwards(tokens=64, width=2048), batch_bytes=8 << 20)  # 38 MB
    (path,) = tmp_path.glob("*.arrow")
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = _resident(path)
    if before > 0.5 * path.stat().st_size / mmap.PAGESIZE:
        pytest.skip("the system keeps the file in memory")
    assert sum(1 for _ in store.places(LEFT)) > 1
    assert _resident(path) < 0.5 * path.stat().st_size / mmap.PAGESIZE
    # And when they are wanted, they are there.
    assert sum(len(part) for part in store.stream(LEFT)) == 2304
    assert _resident(path) > 0.5 * path.stat().st_size / mmap.PAGESIZE


def _resident(path: Path) -> int:
    """How many pages of a file are in memory, by the kernel's own account."""
    size = path.stat().st_size
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        vector = (ctypes.c_ubyte * pages)()
        anchor = ctypes.c_char.from_buffer(mapped)
        libc = ctypes.CDLL(None, use_errno=True)
        result = libc.mincore(ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(size), vector)
        del anchor
        assert result == 0, os.strerror(ctypes.get_errno())
    return sum(page & 1 for page in vector)


@pytest.mark.parametrize("damage", ["cut", "tail", "text"])
def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path, damage: str) -> None:
    store = written(tmp_path, forwards())
    (path,) = tmp_path.glob("*.arrow")
    content = path.read_bytes()
    path.write_bytes(
        {"cut": content[:-3], "tail": content[:-60] + bytes(50) + content[-10:], "text": b"text" * 9}[damage]
    )
    with pytest.raises(UserError, match="damaged or compressed"):
        list(store.batches(LEFT))


def test_what_is_known_of_a_file_from_writing_it_is_true(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train-0", "k" * 64, IDS, dtype="float32", hookpoints=[str(LEFT), str(RIGHT)],
                     batch_bytes=3000) as writer:  # fmt: skip
        for part in forwards():
            writer.add(part)
        shard = writer.commit()
    (file,) = shard.files
    content = (tmp_path / file.path).read_bytes()
    assert (file.bytes, file.rows, file.sha256) == (len(content), 288, hashlib.sha256(content).hexdigest())
    assert writer.md5 == {file.path: hashlib.md5(content).hexdigest()}
    assert shard.rows == {str(LEFT): 144, str(RIGHT): 144}
