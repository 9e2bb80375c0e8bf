"""Training: what a kill and a resume, other autoencoders beside it, or a new process must not change."""

import contextlib
import hashlib
import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from steerwright.activations.store.loader import RowLoader
from steerwright.activations.store.reader import Store, open_store
from steerwright.activations.store.rows import Rows
from steerwright.activations.store.shuffle import RowBatch
from steerwright.activations.store.writer import StoreWriter
from steerwright.errors import UserError
from steerwright.models.families import Step
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.sae import Sae
from steerwright.sae.site import Site
from steerwright.sae.training.config import learning_rate, sae_config
from steerwright.sae.training.loop import CHECKPOINT, Planned, Trained, load_checkpoint, train_saes
from steerwright.sae.training.stream import StoreStream

MIDDLE, UP = Hookpoint.parse("unet.mid_block:out"), Hookpoint.parse("unet.up_blocks.0:out")
MODEL = Fingerprint(name="toy", source="toy", revision=None, digest="d" * 64, libraries={"torch": "2"})
TOPK = sae_config(architecture="topk", latents=48, k=4, seed=1, learning_rate=1e-2, warm_up_rows=200)
RELU = sae_config(architecture="relu", latents=32, l1=0.02, seed=2, learning_rate=1e-2)
BATCHTOPK = sae_config(architecture="batchtopk", latents=64, k=3, seed=3, learning_rate=5e-3, dead_after_rows=300)
ROWS, BATCH = 2000, 50
"""40 steps."""


def make_store(folder: Path) -> Store:
    """Rows that are sparse sums of planted directions, 12 prompts with 64 tokens at two steps, at two hookpoints."""
    generator = torch.Generator().manual_seed(7)
    with StoreWriter(folder, model=MODEL, dtype="float32", hookpoints=[MIDDLE, UP], provenance={}) as writer:
        for shard in range(3):
            ids = [f"p{shard}-{number}" for number in range(4)]
            rows = []
            for hookpoint, width in ((MIDDLE, 16), (UP, 8)):
                atoms = torch.randn(24, width, generator=torch.Generator().manual_seed(width))
                for step in range(2):
                    active = torch.rand(4, 64, 24, generator=generator) * (
                        torch.rand(4, 64, 24, generator=generator) < 0.1
                    )
                    rows.append(Rows(hookpoint, active @ atoms, ids, [0] * 4, Step(step, 1.0, 1.0), "cond", (8, 8)))
            writer.write_shard(f"{shard}-of-3", f"{shard:064d}", ids, rows)
    return open_store(folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("store"))


def stream_of(store: Store, *hookpoints: Hookpoint, seed: int = 5) -> StoreStream:
    return StoreStream({h: RowLoader(store, h, batch_rows=BATCH, pool_rows=600, seed=seed) for h in hookpoints})


def train(store: Store, work: Path, planned: Mapping[str, Planned], stream: Any = None, **options: Any) -> Trained:
    made = stream or stream_of(store, *{one.hookpoint: None for one in planned.values()})
    try:
        return train_saes(made, planned, work, rows=ROWS, batch_rows=BATCH, checkpoint_rows=500, **options)
    finally:
        made.close()


def tensors(sae: Sae) -> list[Tensor]:
    return [sae.encoder, sae.encoder_bias, sae.decoder, sae.decoder_bias]


def same(one: Sae, other: Sae) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


def digest(trained: Trained) -> str:
    found = hashlib.sha256()
    for name in sorted(trained.saes):
        for tensor in tensors(trained.saes[name]):
            found.update(tensor.numpy().tobytes())
    return found.hexdigest()


class Interrupted(Exception):
    pass


class InterruptedStream(StoreStream):
    """Fails when so many batches have been drawn, as a kill would: nothing is tidied up."""

    batches_left = 0

    def next(self) -> Mapping[Hookpoint, RowBatch]:
        if not self.batches_left:
            raise Interrupted
        self.batches_left -= 1
        return super().next()


PLANNED = {"topk": Planned(MIDDLE, TOPK), "relu": Planned(UP, RELU), "batchtopk": Planned(MIDDLE, BATCHTOPK)}


@pytest.fixture(scope="module")
def unbroken(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(store, tmp_path_factory.mktemp("unbroken"), PLANNED)


def test_training_lowers_the_unexplained_variance(unbroken: Trained) -> None:
    for name, points in unbroken.curves.points.items():
        first, last = points[0]["fvu"], points[-1]["fvu"]
        assert last < 0.8 * first, name


@given(stops=st.lists(st.integers(0, 60), min_size=1, max_size=3))
@settings(deadline=None, max_examples=8)
def test_killed_anywhere_it_resumes_to_the_same_bits(
    store: Store, unbroken: Trained, tmp_path_factory: pytest.TempPathFactory, stops: list[int]
) -> None:
    work = tmp_path_factory.mktemp("killed")
    for stop in stops:
        loaders = {h: RowLoader(store, h, batch_rows=BATCH, pool_rows=600, seed=5) for h in (MIDDLE, UP)}
        stream = InterruptedStream(loaders)
        stream.batches_left = stop
        with contextlib.suppress(Interrupted):
            train(store, work, PLANNED, stream)
    resumed = train(store, work, PLANNED)
    assert all(same(resumed.saes[name], unbroken.saes[name]) for name in PLANNED)
    assert resumed.curves.points == unbroken.curves.points


def test_what_was_trained_is_not_trained_again(store: Store, tmp_path: Path, unbroken: Trained) -> None:
    first = train(store, tmp_path, PLANNED)
    loaders = {h: RowLoader(store, h, batch_rows=BATCH, pool_rows=600, seed=5) for h in (MIDDLE, UP)}
    nothing_more = InterruptedStream(loaders)  # no batch can be drawn from it
    again = train(store, tmp_path, PLANNED, nothing_more)
    assert all(same(first.saes[name], again.saes[name]) for name in PLANNED)


def test_several_from_one_stream_are_what_each_is_alone(store: Store, tmp_path: Path, unbroken: Trained) -> None:
    for name, one in PLANNED.items():
        alone = train(store, tmp_path / name, {name: one})
        assert same(alone.saes[name], unbroken.saes[name]), name
        assert alone.curves.points[name] == unbroken.curves.points[name]


def test_each_hookpoint_is_read_once(store: Store, tmp_path: Path) -> None:
    stream = stream_of(store, MIDDLE)
    seeds = {f"seed{seed}": Planned(MIDDLE, TOPK.model_copy(update={"seed": seed})) for seed in range(4)}
    trained = train(store, tmp_path, seeds, stream)
    drawn = ROWS + 1536  # and before them once the 12 * 64 * 2 rows of the store to start from
    windows = math.ceil(drawn / 256) + 3  # two windows are read ahead, and windows are of 256 rows or more
    assert drawn * 16 * 4 <= stream.loaders[MIDDLE].report().bytes <= windows * 300 * 16 * 4
    encoders = [sae.encoder for sae in trained.saes.values()]
    assert not torch.equal(encoders[0], encoders[1])


@pytest.mark.parametrize("change", ["config", "rows", "stream", "code"])
def test_a_checkpoint_of_another_training_is_not_taken_up(store: Store, tmp_path: Path, change: str) -> None:
    planned = {"topk": Planned(MIDDLE, TOPK)}
    train(store, tmp_path, planned)
    before = (tmp_path / CHECKPOINT).read_bytes()
    other: dict[str, Any] = {}
    stream = stream_of(store, MIDDLE, seed=9 if change == "stream" else 5)
    if change == "config":
        planned = {"topk": Planned(MIDDLE, TOPK.model_copy(update={"seed": 77}))}
    if change == "code":
        other = {"code": "changed"}
    drawn: list[tuple[int, int]] = []
    rows = ROWS + 500 if change == "rows" else ROWS
    train_saes(
        stream, planned, tmp_path, rows=rows, batch_rows=BATCH, checkpoint_rows=500,
        progress=lambda done, total: drawn.append((done, total)), **other,
    )  # fmt: skip
    stream.close()
    assert drawn[0][0] < 500 and drawn[-1] == (rows, rows)
    assert (tmp_path / CHECKPOINT).read_bytes() != before


def test_a_damaged_checkpoint_starts_afresh(store: Store, tmp_path: Path, unbroken: Trained) -> None:
    train(store, tmp_path, PLANNED)
    content = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[: len(content) // 2])
    assert all(same(sae, unbroken.saes[name]) for name, sae in train(store, tmp_path, PLANNED).saes.items())


def test_equal_trainings_leave_equal_checkpoints(store: Store, tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        train(store, tmp_path / name, PLANNED)
        contents.append((tmp_path / name / CHECKPOINT).read_bytes())
        assert [path.name for path in (tmp_path / name).iterdir()] == [CHECKPOINT]
    assert contents[0] == contents[1]


def test_the_checkpoint_holds_no_rows(store: Store, tmp_path: Path) -> None:
    """Its size is that of the weights, their two moments and some text, however large the pool."""
    train(store, tmp_path, {"topk": Planned(MIDDLE, TOPK)})
    weights = 2 * 48 * 16 + 48 + 16
    assert (tmp_path / CHECKPOINT).stat().st_size < 3 * 4 * weights + 48 * 16 + 25_000


def test_metrics_are_means_over_the_steps_between_points(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steerwright.sae.training.loop.POINTS", 8)  # 40 steps: a point every 5
    every_step = train(store, tmp_path / "a", {"topk": Planned(MIDDLE, TOPK)}).curves.points["topk"]
    monkeypatch.setattr("steerwright.sae.training.loop.POINTS", 40)
    fine = train(store, tmp_path / "b", {"topk": Planned(MIDDLE, TOPK)}).curves.points["topk"]
    assert [point["step"] for point in every_step] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert [point["rows"] for point in every_step] == [250 * n for n in range(1, 9)]
    for number, point in enumerate(every_step):
        mean = sum(p["fvu"] for p in fine[5 * number : 5 * number + 5]) / 5
        assert point["fvu"] == pytest.approx(mean, rel=1e-5)


def test_an_autoencoder_knows_its_site(store: Store, tmp_path: Path) -> None:
    site = Site(model="d" * 64, hookpoint=str(MIDDLE), branches=("cond",), grid=(8, 8))
    trained = train(store, tmp_path, {"topk": Planned(MIDDLE, TOPK)}, sites={MIDDLE: site})
    assert trained.saes["topk"].site == site


def test_divergence_is_said_and_not_saved(store: Store, tmp_path: Path) -> None:
    wild = {"wild": Planned(MIDDLE, RELU.model_copy(update={"learning_rate": 1e30}))}
    with pytest.raises(UserError, match=r"autoencoder wild diverged before row \d+.*Lower its learning_rate"):
        train(store, tmp_path, wild)
    assert not (tmp_path / CHECKPOINT).exists()


def test_the_rate_rises_and_falls_in_rows() -> None:
    config = sae_config(architecture="topk", latents=2**14, k=4, warm_up_rows=1000)
    # 2e-4 at 2^14 latents by the rule; a fifth of 10,000 rows is 2,000.
    assert learning_rate(config, 0, 100, 10_000) == pytest.approx(2e-5)
    assert learning_rate(config, 400, 100, 10_000) == pytest.approx(1e-4)
    assert learning_rate(config, 900, 100, 10_000) == pytest.approx(2e-4)
    assert learning_rate(config, 8_000, 100, 10_000) == pytest.approx(2e-4)
    assert learning_rate(config, 9_000, 100, 10_000) == pytest.approx(1e-4)
    assert learning_rate(config, 9_900, 100, 10_000) == pytest.approx(1e-5)


def test_nothing_waits_for_the_device_between_points(store: Store, tmp_path: Path) -> None:
    """No tensor is turned into a number but once per point: counted by the calls of `tolist` and `item`."""
    calls = {"tolist": 0, "item": 0}
    real = {name: getattr(Tensor, name) for name in calls}

    def counting(name: str) -> Any:
        def method(self: Tensor, *rest: Any) -> Any:
            calls[name] += 1
            return real[name](self, *rest)

        return method

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steerwright.sae.training.loop.POINTS", 4)
        stream = stream_of(store, MIDDLE)
        stream.next()
        for name in calls:
            patch.setattr(Tensor, name, counting(name))
        trained = train_saes(
            stream, {"topk": Planned(MIDDLE, TOPK)}, tmp_path, rows=ROWS, batch_rows=BATCH, checkpoint_rows=ROWS
        )
        stream.close()
    points = len(trained.curves.points["topk"])
    assert points == 4
    assert calls["tolist"] + calls["item"] <= points + 5  # the start estimates a scale and a median


SCRIPT = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    import torch
    torch.set_num_threads(1)
    import test_loop as here
    from steerwright.activations.store.reader import open_store
    from steerwright.sae.training import loop as module
    real = module.save_checkpoint
    def saved(checkpoint, path):
        print("saving", checkpoint.facts["step"], flush=True)
        real(checkpoint, path)
        print("saved", checkpoint.facts["step"], flush=True)
        time.sleep(0.02)
    module.save_checkpoint = saved
    print("digest", here.digest(here.train(open_store(Path(sys.argv[1])), Path(sys.argv[2]), here.PLANNED)), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["saving 20", "saved 20"])
def test_kill_9_while_a_checkpoint_is_written_and_after(store: Store, tmp_path: Path, moment: str) -> None:
    script = textwrap.dedent(SCRIPT.format(tests=str(Path(__file__).parent)))
    command = [sys.executable, "-c", script, str(store.folder), str(tmp_path / "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == moment:
                os.kill(process.pid, signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    resumed = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.split("\n")
    assert f"saved {20 if moment.startswith('saving') else 30}" in resumed
    assert "saved 10" not in resumed
    whole = subprocess.run(
        [*command[:-1], str(tmp_path / "whole")], capture_output=True, text=True, env=environment, check=True
    ).stdout.split("\n")
    assert resumed[-2].startswith("digest ") and resumed[-2] == whole[-2]


def test_a_checkpoint_says_where_training_stands(store: Store, tmp_path: Path) -> None:
    stream = stream_of(store, MIDDLE)
    planned = {"topk": Planned(MIDDLE, TOPK)}
    train(store, tmp_path, planned, stream)
    from steerwright.sae.training.loop import checkpoint_key

    key = checkpoint_key(stream_of(store, MIDDLE), planned, ROWS, BATCH, 10, "")
    found = load_checkpoint(tmp_path / CHECKPOINT, key)
    assert found is not None
    assert found.facts["step"] == 40
    assert set(found.states) == {"topk"}
    assert load_checkpoint(tmp_path / CHECKPOINT, "another") is None
