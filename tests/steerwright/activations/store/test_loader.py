"""Shuffled batches of a store: every row once an epoch, in an order that a seed gives and a cursor resumes."""

import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from steerwright.activations.store.format import Manifest
from steerwright.activations.store.loader import RowLoader
from steerwright.activations.store.reader import Store, open_store
from steerwright.activations.store.rows import TOKEN_TYPES, Rows
from steerwright.activations.store.writer import ShardWriter, StoreWriter
from steerwright.errors import UserError
from steerwright.models.families import Step
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint

MODEL = Fingerprint(name="toy", source="toy", revision=None, digest="d" * 64, libraries={"torch": "2"})
WIDE = Hookpoint.parse("unet.mid_block:out")
ALSO_WIDE = Hookpoint.parse("unet.mid_block:update")
NARROW = Hookpoint.parse("unet.conv_in:out")
TEXT = Hookpoint.parse("text_encoder:out")
PROMPTS, STEPS, TOKENS, WIDTH = 12, 3, 20, 4
ROWS = PROMPTS * STEPS * 2 * TOKENS


def images(hookpoint: Hookpoint, prompts: list[int], step: int, branch: Any, dtype: torch.dtype, width: int) -> Rows:
    """Rows that say which they are: (prompt, step, branch, token), and then the hookpoint's number."""
    branch_number = ("cond", "uncond").index(branch)
    values = torch.tensor([[[p, step, branch_number, token] for token in range(TOKENS)] for p in prompts])
    filling = torch.full((len(prompts), TOKENS, width - 4), float(width))
    at = Step(step, 900.0 - step, 1.0)
    ids = [f"p{p}" for p in prompts]
    return Rows(hookpoint, torch.cat([values, filling], 2).to(dtype), ids, [7] * len(ids), at, branch, (4, 5))


def make_store(folder: Path, dtype: Any = "float32", shards: int = 4, batch_bytes: int = 0) -> Store:
    """With `batch_bytes`, record batches hold the rows of several steps and branches."""
    kind = getattr(torch, dtype)
    finished = []
    for shard in range(shards):
        mine = list(range(shard, PROMPTS, shards))
        rows = [
            images(hookpoint, mine, step, branch, kind, width)
            for step in range(STEPS)
            for branch in ("cond", "uncond")
            for hookpoint, width in ((WIDE, WIDTH), (NARROW, 5), (ALSO_WIDE, WIDTH))
        ]
        rows[-1].values.mul_(-1)
        with ShardWriter(
            folder, f"{shard}-of-{shards}", f"{shard:064d}", [f"p{p}" for p in mine], dtype=dtype,
            hookpoints=[str(WIDE), str(ALSO_WIDE), str(NARROW)], batch_bytes=batch_bytes,
        ) as writer:  # fmt: skip
            for some in rows:
                writer.add(some)
            finished.append(writer.commit())
    Manifest(complete=True, model=MODEL, dtype=dtype, provenance={}, shards=tuple(finished)).write(folder)
    return open_store(folder)


@pytest.fixture(scope="module", params=[0, 3000], ids=["a batch a forward", "large batches"])
def store(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Store:
    # 3000 bytes are 187 rows: nine pictures of one step and branch, then of the next.
    return make_store(tmp_path_factory.mktemp("store"), batch_bytes=request.param)


def loaded(loader: RowLoader, batches: int | None = None) -> Tensor:
    with loader:
        got = [batch.rows for batch, _ in zip(loader, range(batches or 10**6), strict=False)]
    return torch.cat(got) if got else torch.zeros(0, loader.width)


def names(rows: Tensor) -> list[tuple[int, ...]]:
    return [tuple(map(int, row)) for row in rows.tolist()]


ALL = {(p, s, b, t) for p in range(PROMPTS) for s in range(STEPS) for b in range(2) for t in range(TOKENS)}


@given(pool=st.integers(9, 2 * ROWS), batch=st.integers(1, 200), seed=st.integers(0, 2**40))
@settings(deadline=None, max_examples=12)
def test_an_epoch_is_a_permutation_of_all_rows(store: Store, pool: int, batch: int, seed: int) -> None:
    rows = names(loaded(RowLoader(store, WIDE, batch_rows=batch, pool_rows=pool, seed=seed, epochs=1)))
    assert len(rows) == ROWS == len(ALL)
    assert set(rows) == ALL


def test_the_same_seed_gives_the_same_order_and_another_gives_another(store: Store) -> None:
    orders = [loaded(RowLoader(store, WIDE, batch_rows=64, pool_rows=400, seed=s, epochs=1)) for s in (1, 1, 2)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_the_order_does_not_depend_on_the_batch(store: Store) -> None:
    orders = [loaded(RowLoader(store, WIDE, batch_rows=b, pool_rows=400, epochs=1)) for b in (1, 7, 1000)]
    assert torch.equal(orders[0], orders[1]) and torch.equal(orders[0], orders[2])


def test_every_epoch_has_another_order_and_all_rows(store: Store) -> None:
    rows = names(loaded(RowLoader(store, WIDE, batch_rows=64, pool_rows=400, epochs=3)))
    epochs = [rows[start : start + ROWS] for start in range(0, 3 * ROWS, ROWS)]
    assert all(set(epoch) == ALL for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_batches_are_full_until_the_last_epoch_ends(store: Store) -> None:
    with RowLoader(store, WIDE, batch_rows=500, pool_rows=300, epochs=2) as loader:
        sizes = [len(batch) for batch in loader]
    assert sizes == [500, 500, 500, 500, 500, 380]  # 2 * 1440 = 5 * 500 + 380


def test_rows_come_with_their_denoising_step(store: Store) -> None:
    with RowLoader(store, WIDE, batch_rows=100, pool_rows=400, epochs=1) as loader:
        for batch in loader:
            assert batch.step.dtype == torch.int64
            assert torch.equal(batch.step, batch.rows[:, 1].long())


def test_the_store_is_read_at_one_hookpoint_only(store: Store) -> None:
    narrow = loaded(RowLoader(store, NARROW, batch_rows=100, pool_rows=400, epochs=1))
    assert narrow.shape == (ROWS, 5) and set(narrow[:, 4].tolist()) == {5.0}
    other = loaded(RowLoader(store, ALSO_WIDE, batch_rows=100, pool_rows=400, epochs=1))
    # The last batch of each of the four shards was written negated: 12 prompts at step 2, uncond.
    assert int((other < 0).any(1).sum()) == PROMPTS * TOKENS
    assert len(other) == ROWS


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rows_keep_the_stores_dtype_bit_by_bit(tmp_path: Path, dtype: Any) -> None:
    opened = make_store(tmp_path, dtype)
    rows = loaded(RowLoader(opened, WIDE, batch_rows=64, pool_rows=400, epochs=1))
    assert rows.dtype == getattr(torch, dtype)
    assert set(names(rows)) == ALL


@given(
    pool=st.integers(9, ROWS),
    batch=st.integers(1, 300),
    seed=st.integers(0, 1000),
    before=st.integers(0, 30),
)
@settings(deadline=None, max_examples=15)
def test_a_cursor_goes_on_exactly_where_it_was_taken(
    store: Store, pool: int, batch: int, seed: int, before: int
) -> None:
    arguments: dict[str, Any] = {"batch_rows": batch, "pool_rows": pool, "seed": seed, "steps": {0, 2}}
    with RowLoader(store, WIDE, **arguments) as whole:
        for _ in range(before):
            next(whole)
        cursor = json.loads(json.dumps(whole.cursor()))
        rest = [next(whole).rows for _ in range(10)]
    with RowLoader(store, WIDE, **arguments, cursor=cursor) as resumed:
        assert all(torch.equal(expected, next(resumed).rows) for expected in rest)


def test_a_cursor_at_the_end_gives_nothing_more(store: Store) -> None:
    with RowLoader(store, WIDE, batch_rows=100, pool_rows=400, epochs=1) as loader:
        for _ in loader:
            pass
        cursor = loader.cursor()
    assert len(loaded(RowLoader(store, WIDE, batch_rows=100, pool_rows=400, epochs=1, cursor=cursor))) == 0


def test_a_cursor_is_small(store: Store) -> None:
    with RowLoader(store, WIDE, batch_rows=100, pool_rows=400) as loader:
        next(loader)
        assert len(json.dumps(loader.cursor())) < 200


def test_a_cursor_of_another_order_is_refused(store: Store) -> None:
    with RowLoader(store, WIDE, batch_rows=100, pool_rows=400) as loader:
        cursor = loader.cursor()
    for change in ({"seed": 1}, {"pool_rows": 500}, {"steps": {1}}):
        with pytest.raises(ValueError, match="another store, selection, seed or pool size"):
            RowLoader(store, WIDE, **{"batch_rows": 100, "pool_rows": 400, "cursor": cursor, **change})


def test_prompts_steps_and_branches_are_selected(store: Store) -> None:
    rows = names(
        loaded(
            RowLoader(
                store, WIDE, batch_rows=64, pool_rows=400, epochs=1,
                prompts={"p3", "p7"}, steps={0, 2}, branches={"uncond"},
            )
        )
    )  # fmt: skip
    assert len(rows) == 2 * 2 * TOKENS
    assert set(rows) == {(p, s, 1, t) for p in (3, 7) for s in (0, 2) for t in range(TOKENS)}


def test_token_types_are_selected_and_rows_without_steps_say_so(tmp_path: Path) -> None:
    values = torch.arange(3 * 5 * 2.0).reshape(3, 5, 2)
    types = torch.tensor([0, 1, 1, 2, 3]).expand(3, 5)
    with StoreWriter(tmp_path, model=MODEL, dtype="float32", hookpoints=[TEXT], provenance={}) as writer:
        writer.write_shard(
            "0-of-1", "k" * 64, ["a", "b", "c"], [Rows(TEXT, values, ["a", "b", "c"], token_types=types)]
        )
    assert TOKEN_TYPES[1] == "content"
    arguments: dict[str, Any] = {"batch_rows": 10, "pool_rows": 10, "epochs": 1}
    with RowLoader(open_store(tmp_path), TEXT, token_types={"content"}, prompts={"a", "c"}, **arguments) as loader:
        (batch,) = list(loader)
    # a's content tokens hold 2..5, c's 22..25.
    assert sorted(batch.rows.reshape(-1).tolist()) == [2, 3, 4, 5, 22, 23, 24, 25]
    assert batch.step.tolist() == [-1] * 4


def test_a_selection_without_rows_says_what_was_asked(store: Store) -> None:
    with pytest.raises(UserError, match=r"no rows at unet.mid_block:out with steps 17; branches cond"):
        RowLoader(store, WIDE, batch_rows=1, pool_rows=2, steps={17}, branches={"cond"})
    with pytest.raises(UserError, match=r"branches are cond, uncond, none; not positive"):
        RowLoader(store, WIDE, batch_rows=1, pool_rows=2, branches={"positive"})
    with pytest.raises(UserError, match="has no hookpoint text_encoder:out"):
        RowLoader(store, TEXT, batch_rows=1, pool_rows=2)


def test_rows_of_one_picture_are_spread_over_the_window(store: Store) -> None:
    """With the whole store in the pool, the tokens of a picture lie as far apart as in a random permutation."""
    rows = loaded(RowLoader(store, WIDE, batch_rows=ROWS, pool_rows=4 * ROWS, epochs=1))
    places: dict[tuple[int, ...], list[int]] = {}
    for place, (prompt, step, branch, _) in enumerate(names(rows)):
        places.setdefault((prompt, step, branch), []).append(place)
    # Of 20 places drawn from 1440 without replacement the mean gap between neighbours is 1440 / 21 = 69, and the
    # share of gaps of 1 about 19/1440; both are means over 72 pictures.
    gaps = np.concatenate([np.diff(one) for one in places.values()])
    assert 64 < gaps.mean() < 73
    assert (gaps == 1).mean() < 0.04


def test_a_window_mixes_many_places_of_the_store(store: Store) -> None:
    """A pool of a tenth of the store: pictures and steps of every batch come from all over it."""
    loader = RowLoader(store, WIDE, batch_rows=72, pool_rows=288, epochs=1)
    with loader:
        pictures = [len({name[:3] for name in names(batch.rows)}) for batch in loader]
    # 72 rows read in order are of 4 or 5 pictures; 144 rows of a window come in stretches of 9, so of 16 or more
    # places, and half of them are in a batch.
    assert np.mean(pictures) > 12


def test_neighbours_in_time_are_no_nearer_than_chance(store: Store) -> None:
    rows = loaded(RowLoader(store, WIDE, batch_rows=ROWS, pool_rows=4 * ROWS, epochs=1))
    order = torch.tensor([((p * STEPS + s) * 2 + b) * TOKENS + t for p, s, b, t in names(rows)]).double()
    correlation = float(torch.corrcoef(torch.stack([order[:-1], order[1:]]))[0, 1])
    assert abs(correlation) < 4 / ROWS**0.5  # four standard errors


def test_the_pool_never_holds_more_rows_than_allowed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from steerwright.activations.store import loader as module

    made: list[int] = []
    real = module.PoolHalf.empty

    def counted(capacity: int, *rest: Any) -> Any:
        made.append(capacity)
        return real(capacity, *rest)

    monkeypatch.setattr(module.PoolHalf, "empty", counted)
    for pool in (9, 100, 333, 10**9):
        made.clear()
        with RowLoader(store, WIDE, batch_rows=50, pool_rows=pool, epochs=2) as rows:
            held = 0
            for _ in rows:
                held = max(held, rows._half.held if rows._half else 0)
        assert sum(made) <= min(pool, 2 * ROWS) and len(made) == 2
        assert 0 < held <= made[0]


def test_closing_ends_the_thread_and_so_does_forgetting(store: Store) -> None:
    before = threading.active_count()
    loader = RowLoader(store, WIDE, batch_rows=10, pool_rows=100)
    next(loader)
    assert threading.active_count() == before + 1
    loader.close()
    assert threading.active_count() == before
    forgotten = RowLoader(store, WIDE, batch_rows=10, pool_rows=100)
    next(forgotten)
    thread = next(t for t in threading.enumerate() if t.name == f"rows of {WIDE}")
    del forgotten
    gc.collect()
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_a_process_may_end_with_a_loader_open(store: Store) -> None:
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from steerwright.activations.store.loader import RowLoader
        from steerwright.activations.store.reader import open_store
        from steerwright.models.hookpoints import Hookpoint
        loader = RowLoader(
            open_store(Path({str(store.folder)!r})), Hookpoint.parse({str(WIDE)!r}), batch_rows=50, pool_rows=500
        )
        print(len(next(loader)))
        """
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "50\n", "")


def test_the_smallest_pool_gives_every_row_too(store: Store) -> None:
    rows = names(loaded(RowLoader(store, WIDE, batch_rows=7, pool_rows=2, epochs=1, steps={1}, prompts={"p3"})))
    assert sorted(rows) == sorted(name for name in ALL if name[:2] == (3, 1))


def test_a_file_that_ends_too_early_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    opened = make_store(tmp_path)
    loader = RowLoader(opened, WIDE, batch_rows=ROWS, pool_rows=2 * ROWS)
    for path in tmp_path.glob("*.d4.arrow"):
        with path.open("r+b") as file:
            file.truncate(2000)
    for _ in range(2):
        with pytest.raises(UserError, match="shorter than its manifest says"):
            next(loader)
    loader.close()


def test_a_compressed_file_is_refused(tmp_path: Path) -> None:
    opened = make_store(tmp_path)
    for path in tmp_path.glob("*.d4.arrow"):
        table = pa.ipc.open_file(path.read_bytes()).read_all()
        with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_table(table)
    with pytest.raises(UserError, match="is damaged or compressed; collect the activations again"):
        RowLoader(opened, WIDE, batch_rows=10, pool_rows=100)


def test_the_report_counts_the_bytes_of_the_rows(store: Store) -> None:
    with RowLoader(store, WIDE, batch_rows=50, pool_rows=4 * ROWS, epochs=1) as loader:
        for _ in loader:
            pass
        report = loader.report()
    assert report.bytes == ROWS * WIDTH * 4
    assert report.rate > 0 and report.sequential_rate > 0
    assert report.share == report.rate / report.sequential_rate
    assert "of the disk's sequential" in str(report)


def test_nothing_is_read_twice_in_an_epoch(store: Store) -> None:
    """By the loader's own account and by the index of the store."""
    index: pl.DataFrame = store.index(WIDE)
    with RowLoader(store, WIDE, batch_rows=50, pool_rows=100, epochs=1, steps={1}) as loader:
        for _ in loader:
            pass
        assert loader.report().bytes == index.filter(pl.col("step") == 1).height * WIDTH * 4
        assert loader.rows == index.filter(pl.col("step") == 1).height


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("pool", [40, 400, 4 * ROWS])
def test_a_cuda_device_gets_the_rows_of_a_cpu_in_the_same_order(store: Store, pool: int) -> None:
    arguments: dict[str, Any] = {"batch_rows": 64, "pool_rows": pool, "seed": 3, "epochs": 3}
    with RowLoader(store, WIDE, **arguments) as cpu, RowLoader(store, WIDE, **arguments, device="cuda") as cuda:
        for here, there in zip(cpu, cuda, strict=True):
            assert there.rows.is_cuda and there.step.is_cuda
            # Work on the batch's stream, so that a half that is filled too early would be seen.
            busy = there.rows.double() @ there.rows.double().T
            assert torch.equal(here.rows, there.rows.cpu()) and torch.equal(here.step, there.step.cpu())
            assert busy.isfinite().all()
