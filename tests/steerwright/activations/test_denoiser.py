"""Collecting UNet rows for autoencoders: what is kept, when the model stops, and what is never computed twice."""

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from steerwright.activations import denoiser as collect_latents
from steerwright.activations.denoiser import collect_shard, commit_collection
from steerwright.activations.early_exit import run_until
from steerwright.activations.record import record
from steerwright.activations.shard_plan import CollectedPrompt, Collection, ShardJob, parse_collection, plan_collection
from steerwright.activations.store.reader import Store, open_store
from steerwright.dag import KEPT
from steerwright.errors import UserError
from steerwright.models.generate import Batch, generate, run_pipeline
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import load_model
from steerwright.models.spec import ModelSpec

BLOCK = "unet.up_blocks.1.attentions.1"
DEEPER = "unet.up_blocks.2.attentions.0"
WIDE = "unet.up_blocks.3.attentions.0"
CROSS = "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2"
PROMPTS = [
    CollectedPrompt(id=f"p{i}", prompt="a b c"[: 1 + 2 * (i % 3)], split="train", seed=100 + i) for i in range(5)
]


@pytest.fixture(autouse=True)
def the_loaded_model(sd21: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards use the session's model instead of loading it once more."""
    monkeypatch.setattr(collect_latents, "load_once", lambda spec, digest: sd21)


def planned(model: Any, folder: Path, prompts: Sequence[CollectedPrompt] = PROMPTS, **asked: Any) -> list[ShardJob]:
    more = {name: asked.pop(name) for name in ("earlier", "code") if name in asked}
    asked = {"hookpoints": [BLOCK], "batch_size": 2, "prompts_per_shard": 2, **asked}
    return plan_collection(model, prompts, parse_collection(asked), folder, **more)


def collected(model: Any, folder: Path, prompts: Sequence[CollectedPrompt] = PROMPTS, **asked: Any) -> Store:
    jobs = planned(model, folder, prompts, **asked)
    for job in jobs:
        collect_shard(job)
    commit_collection(jobs)
    return open_store(folder)


def rows(store: Store, hookpoint: str, **where: Any) -> torch.Tensor:
    """Values of the rows whose columns have these values, by prompt and token."""
    point = Hookpoint.parse(hookpoint)
    index = store.index(point).with_row_index("row").filter(*(pl.col(k) == v for k, v in where.items()))
    order = index.sort("prompt", "token")["row"].to_list()
    return store.read(point)[order]


def hooked(model: Any, hookpoints: Sequence[str], prompts: Sequence[CollectedPrompt], **options: Any) -> Any:
    """What plain hooks see in a whole run, picture and all."""
    batch = Batch(0, len(prompts), tuple(p.prompt for p in prompts), tuple(p.seed for p in prompts))
    with record(model.pipeline, [Hookpoint.parse(text) for text in hookpoints]) as recording:
        run_pipeline(model, batch, "np", **options)
    return recording


def hooks_of(model: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.pipeline.unet.modules())


def test_rows_are_what_hooks_see_in_a_whole_run(sd21: Any, tmp_path: Path) -> None:
    points = [BLOCK, f"{BLOCK}:update", f"{DEEPER}:in", CROSS]
    store = collected(sd21, tmp_path, PROMPTS[:2], hookpoints=points, branches=["cond", "uncond"])
    seen = hooked(sd21, points, PROMPTS[:2])
    assert [str(point) for point in store.hookpoints] == [
        f"{CROSS}:out",
        f"{BLOCK}:out",
        f"{BLOCK}:update",
        f"{DEEPER}:in",
    ]
    for text in points:
        tensors = seen[Hookpoint.parse(text)]
        assert len(tensors) == 4  # PNDM with three steps visits one timestep twice
        for step, tensor in enumerate(tensors):
            tokens = tensor.flatten(2).transpose(1, 2) if tensor.ndim == 4 else tensor
            uncond, cond = tokens.chunk(2)
            assert torch.equal(rows(store, text, step=step, branch="cond"), cond.flatten(0, 1))
            assert torch.equal(rows(store, text, step=step, branch="uncond"), uncond.flatten(0, 1))
    capture = seen.captures(Hookpoint.parse(BLOCK))[2]
    said = store.index(Hookpoint.parse(BLOCK)).filter(step=2)
    assert set(said["timestep"]) == {capture.step.timestep} and set(said["sigma"]) == {capture.step.sigma}
    assert set(zip(said["prompt"], said["seed"], strict=True)) == {("p0", 100), ("p1", 101)}


def test_the_model_stops_after_the_deepest_hookpoint_of_the_last_step(
    sd21: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = generate(sd21, ["a"], [1])
    ran: list[str] = []
    unet = sd21.pipeline.unet
    watched = {"last block": unet.up_blocks[3], "deepest": unet.up_blocks[2].attentions[0], "earlier": unet.mid_block}
    handles = [m.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, m in watched.items()]
    monkeypatch.setattr(sd21.pipeline.vae, "decode", lambda *_, **__: ran.append("decoder"))
    store = collected(sd21, tmp_path, PROMPTS[:1], hookpoints=[DEEPER, "unet.mid_block"], steps=[0, 1])
    monkeypatch.undo()
    for handle in handles:
        handle.remove()
    assert ran == ["earlier", "deepest", "last block", "earlier", "deepest"]
    assert store.index(Hookpoint.parse(DEEPER))["step"].unique().to_list() == [0, 1]
    assert hooks_of(sd21) == 0
    assert "encode_prompt" not in vars(sd21.pipeline)
    assert (generate(sd21, ["a"], [1]) == before).all()
    whole = hooked(sd21, [DEEPER], PROMPTS[:1])[Hookpoint.parse(DEEPER)]
    assert torch.equal(rows(store, DEEPER, step=1), whole[1].chunk(2)[1].flatten(2).transpose(1, 2).flatten(0, 1))


def test_an_error_in_the_sink_passes_and_leaves_no_hook(sd21: Any) -> None:
    def fail(_: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_until(sd21, Batch(0, 1, ("a",), (0,)), [Hookpoint.parse(BLOCK)], 1, fail)
    assert hooks_of(sd21) == 0


def test_a_sample_of_tokens_is_the_same_however_prompts_are_batched(sd21: Any, tmp_path: Path) -> None:
    wide = {"hookpoints": [WIDE], "steps": [0, 1]}  # 64 tokens
    whole = collected(sd21, tmp_path / "whole", **wide)
    point = Hookpoint.parse(WIDE)
    found = {}
    for size, shard in ((1, 5), (2, 3), (5, 5)):
        store = collected(sd21, tmp_path / str(size), batch_size=size, prompts_per_shard=shard, tokens=3, **wide)
        index = store.index(point)
        found[size] = set(index.select("prompt", "step", "token").iter_rows())
        per_image = index.group_by("prompt", "step").len()
        assert len(per_image) == 5 * 2 and set(per_image["len"]) == {3}
    assert found[1] == found[2] == found[5]
    # Each image and step has its own choice, over all of the grid.
    assert len({frozenset(t for p, s, t in found[1] if (p, s) == at) for at in {(p, s) for p, s, _ in found[1]}}) == 10
    # The kept rows are those of the whole store, bit for bit (same batches).
    store = collected(sd21, tmp_path / "same", tokens=3, **wide)
    kept, every = store.index(point), whole.index(point).with_row_index("row")
    place = kept.join(every, on=["prompt", "step", "token"], maintain_order="left")["row"].to_list()
    assert torch.equal(store.read(point), whole.read(point)[place])
    # A smaller sample is part of it; another seed is another sample.
    assert (
        set(
            collected(sd21, tmp_path / "2", tokens=2, **wide).index(point).select("prompt", "step", "token").iter_rows()
        )
        < found[1]
    )
    other = collected(sd21, tmp_path / "3", tokens=3, token_seed=1, **wide).index(point)
    assert set(other.select("prompt", "step", "token").iter_rows()) != found[1]
    assert store.layout(point).grid == whole.layout(point).grid


def test_more_tokens_than_there_are_means_all(sd21: Any, tmp_path: Path) -> None:
    store = collected(sd21, tmp_path, PROMPTS[:1], tokens=10_000, steps=[0])
    assert store.index(Hookpoint.parse(BLOCK))["token"].to_list() == list(range(4))


def test_each_picture_has_the_noise_of_its_seed_whatever_its_batch(sd21: Any, tmp_path: Path) -> None:
    a = collected(sd21, tmp_path / "a", batch_size=1)
    b = collected(sd21, tmp_path / "b", batch_size=5, prompts_per_shard=5)
    assert torch.allclose(rows(a, BLOCK, step=3), rows(b, BLOCK, step=3), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("height", [64, 128])
def test_grids_need_not_be_square(sd21: Any, tmp_path: Path, height: int) -> None:
    spec = sd21.spec.model_copy(update={"height": height, "width": 64})
    model = type(sd21)(spec, sd21.pipeline, sd21.fingerprint, sd21.device)
    collect_latents.load_once = lambda spec, digest: model  # type: ignore[assignment]  # the fixture puts it back
    store = collected(model, tmp_path, PROMPTS[:1], hookpoints=[DEEPER, CROSS], steps=[0])
    assert store.layout(Hookpoint.parse(DEEPER)).grid == (height // 16, 4)
    assert store.layout(Hookpoint.parse(CROSS)).grid == (height // 32, 2)
    seen = hooked(model, [DEEPER], PROMPTS[:1], height=height, width=64)[Hookpoint.parse(DEEPER)][0]
    token = store.index(Hookpoint.parse(DEEPER)).with_row_index("row").filter(token=4 * 1 + 2)["row"].item()
    assert torch.equal(store.read(Hookpoint.parse(DEEPER))[token], seen[1, :, 1, 2])


@pytest.mark.parametrize(("guidance", "branch", "passes"), [(0.0, "none", 1), (1.0, "none", 1), (7.5, "cond", 2)])
def test_without_guidance_the_only_branch_is_called_none(
    sd21: Any, tmp_path: Path, guidance: float, branch: str, passes: int
) -> None:
    store = collected(sd21, tmp_path, PROMPTS[:3], guidance=guidance, batch_size=3, prompts_per_shard=3)
    seen = hooked(sd21, [BLOCK], PROMPTS[:3], guidance=guidance)[Hookpoint.parse(BLOCK)]
    assert seen[0].shape[0] == 3 * passes
    assert store.index(Hookpoint.parse(BLOCK))["branch"].unique().to_list() == [branch]
    assert torch.equal(rows(store, BLOCK, step=3), seen[3][-3:].flatten(2).transpose(1, 2).flatten(0, 1))


def test_the_model_runs_in_bfloat16_and_so_are_its_rows(sd21_folder: Path, tmp_path: Path) -> None:
    spec = ModelSpec(name="half", source=str(sd21_folder), dtype="bfloat16", steps=2, guidance=3.0)
    half = load_model(spec, device=torch.device("cpu"))
    collect_latents.load_once = lambda spec, digest: half  # type: ignore[assignment]
    store = collected(half, tmp_path, PROMPTS[:2])
    seen = hooked(half, [BLOCK], PROMPTS[:2])[Hookpoint.parse(BLOCK)]
    assert store.manifest.dtype == "bfloat16"
    assert torch.equal(rows(store, BLOCK, step=1), seen[1].chunk(2)[1].flatten(2).transpose(1, 2).flatten(0, 1))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_holds_the_manifest_and_its_files_and_nothing_else(sd21: Any, tmp_path: Path) -> None:
    store = collected(sd21, tmp_path)
    (tmp_path / ".leftover.0123").write_text("of a killed writer")
    jobs = planned(sd21, tmp_path)
    assert [collect_shard(job) for job in jobs] == [KEPT] * 3  # what the runners show as Cached
    commit_collection(jobs)
    listed = {file.path for shard in store.manifest.shards for file in shard.files}
    assert set(bytes_of(tmp_path)) == listed | {"manifest.json"}
    assert [(shard.name, shard.items) for shard in store.manifest.shards] == [
        ("train-000000", 2), ("train-000001", 2), ("train-000002", 1)
    ]  # fmt: skip
    store.verify()


def test_the_hashes_that_are_known_from_writing_are_those_of_the_files(sd21: Any, tmp_path: Path) -> None:
    import hashlib

    jobs = planned(sd21, tmp_path, hookpoints=[BLOCK, DEEPER])
    for job in jobs:
        collect_shard(job)
    found = commit_collection(jobs)
    assert found == {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in tmp_path.glob("*.arrow")}


def test_equal_collections_are_equal_bytes_in_whatever_order_their_shards_were_done(sd21: Any, tmp_path: Path) -> None:
    collected(sd21, tmp_path / "a")
    jobs = planned(sd21, tmp_path / "b")
    for job in reversed(jobs):
        # As another process gets it: pickled, or as JSON.
        collect_shard(ShardJob.model_validate_json(json.dumps(pickle.loads(pickle.dumps(job)).model_dump(mode="json"))))
    commit_collection(jobs)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_appended_prompts_cost_their_shards_alone(sd21: Any, tmp_path: Path) -> None:
    collected(sd21, tmp_path / "old", PROMPTS[:4])
    earlier = {path.name: path for path in (tmp_path / "old").iterdir()}
    jobs = planned(sd21, tmp_path / "new", PROMPTS, earlier=earlier)
    assert [collect_shard(job) for job in jobs] == ["kept", "kept", "collected"]
    commit_collection(jobs)
    assert {path.stat().st_nlink for path in (tmp_path / "new").glob("train-00000[01]*.arrow")} == {2}
    collected(sd21, tmp_path / "fresh", PROMPTS)
    assert bytes_of(tmp_path / "new") == bytes_of(tmp_path / "fresh")
    # In the finished folder itself as well.
    more = planned(sd21, tmp_path / "old", PROMPTS)
    assert [collect_shard(job) for job in more] == ["kept", "kept", "collected"]
    commit_collection(more)
    assert bytes_of(tmp_path / "old") == bytes_of(tmp_path / "fresh")


@pytest.mark.parametrize(
    "change",
    [{"tokens": 2}, {"batch_size": 1}, {"steps": [0]}, {"guidance": 2.0}, {"branches": ["uncond"]}, {"code": "other"}],
)
def test_what_changes_rows_reuses_nothing(sd21: Any, tmp_path: Path, change: Mapping[str, Any]) -> None:
    collected(sd21, tmp_path / "old", PROMPTS[:2])
    earlier = {path.name: path for path in (tmp_path / "old").iterdir()}
    (job,) = planned(sd21, tmp_path / "new", PROMPTS[:2], earlier=earlier, **change)
    assert job.held is None
    (other,) = planned(
        sd21, tmp_path / "new", [*PROMPTS[:1], PROMPTS[1].model_copy(update={"seed": 7})], earlier=earlier
    )
    assert other.held is None


def test_a_store_of_another_version_or_a_damaged_one_is_not_reused(sd21: Any, tmp_path: Path) -> None:
    collected(sd21, tmp_path, PROMPTS[:2])
    path = tmp_path / "manifest.json"
    good = path.read_text()
    for text in (good.replace('"schema_version": 1', '"schema_version": 2'), good[: len(good) // 2]):
        path.write_text(text)
        with pytest.raises(UserError, match="collect"):
            open_store(tmp_path)
        assert [job.held for job in planned(sd21, tmp_path, PROMPTS[:2])] == [None]


def test_a_cut_file_is_collected_again(sd21: Any, tmp_path: Path) -> None:
    collected(sd21, tmp_path, PROMPTS[:2])
    before = bytes_of(tmp_path)
    (file,) = tmp_path.glob("*.arrow")
    file.write_bytes(file.read_bytes()[:-8])
    jobs = planned(sd21, tmp_path, PROMPTS[:2])
    assert [collect_shard(job) for job in jobs] == ["collected"]
    commit_collection(jobs)
    assert bytes_of(tmp_path) == before


def test_a_store_lacking_a_shard_is_not_committed(sd21: Any, tmp_path: Path) -> None:
    jobs = planned(sd21, tmp_path)
    collect_shard(jobs[0])
    with pytest.raises(UserError, match=r"2 of 3 shards .*train-000001, train-000002"):
        commit_collection(jobs)
    with pytest.raises(UserError, match="no activation store"):
        open_store(tmp_path)


@pytest.mark.slow
def test_a_kill_in_the_middle_costs_one_shard(sd21: Any, sd21_folder: Path, tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_denoiser as t
        from steerwright.activations.store.writer import ShardWriter
        spec = t.ModelSpec(name="tiny-sd-2.1", source={str(sd21_folder)!r}, dtype="float16", steps=3, guidance=4.0)
        model = t.load_model(spec, device=t.torch.device("cpu"))
        add = ShardWriter.add
        def dying(self, rows):
            add(self, rows)
            if self._name == "train-000001" and rows.step.index == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        ShardWriter.add = dying
        for job in t.planned(model, Path({str(tmp_path / "store")!r})):
            t.collect_shard(job)
    """)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[3], env=env, check=False, timeout=300
    )
    assert done.returncode == -signal.SIGKILL
    assert any(name.startswith(".") for name in bytes_of(tmp_path / "store"))
    jobs = planned(sd21, tmp_path / "store")
    assert [collect_shard(job) for job in jobs] == ["kept", "collected", "collected"]
    commit_collection(jobs)
    collected(sd21, tmp_path / "undisturbed")
    assert bytes_of(tmp_path / "store") == bytes_of(tmp_path / "undisturbed")


def test_a_shard_that_fails_leaves_nothing(sd21: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (job, *_) = planned(sd21, tmp_path)

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("steerwright.activations.store.writer._HashingFile.write", full)
    with pytest.raises(UserError, match="No space is left"):
        collect_shard(job)
    assert bytes_of(tmp_path) == {}
    assert hooks_of(sd21) == 0


def test_a_worker_with_another_kind_of_device_refuses(sd21: Any, tmp_path: Path) -> None:
    (job, *_) = planned(sd21, tmp_path)
    with pytest.raises(UserError, match="planned for cuda, and this process would run on cpu"):
        collect_shard(job.model_copy(update={"device": "cuda"}))


def test_every_worker_computes_with_the_planning_ones_threads(sd21: Any, tmp_path: Path) -> None:
    jobs = planned(sd21, tmp_path, PROMPTS[:1])
    counts: list[int] = []
    handle = sd21.pipeline.unet.register_forward_hook(lambda *_: counts.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    collect_shard(jobs[0].model_copy(update={"threads": 3}))
    handle.remove()
    assert set(counts) == {3} and torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"hookpoints": ["unet.up_blocks.1.attention.1"]}, "did you mean"),
        ({"hookpoints": ["text_encoder.encoder.layers.0.mlp"]}, "not in the UNet"),
        ({"steps": [0, 4]}, "no denoising step 4: .* makes 4"),
        ({"guidance": 1.0, "branches": ["cond", "uncond"]}, "no unconditional branch"),
        ({"splits": ["trian"]}, "No prompt is of the split trian; the prompts are of train"),
        ({"steps": []}, "latents.activations.steps"),
        ({"tokens": 0}, "latents.activations.tokens"),
        ({"branches": ["none"]}, "latents.activations.branches"),
        ({"hookpoint": []}, "latents.activations.hookpoint: Extra"),
    ],
)
def test_what_cannot_be_collected_is_said_before_anything_runs(
    sd21: Any, tmp_path: Path, asked: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        planned(sd21, tmp_path / "store", **asked)
    assert not (tmp_path / "store").exists()


def test_shards_are_groups_of_one_split_in_the_tables_order(sd21: Any, tmp_path: Path) -> None:
    mixed = [p.model_copy(update={"split": s}) for p, s in zip(PROMPTS, ["b", "a", "b", "a", "b"], strict=True)]
    jobs = planned(sd21, tmp_path, mixed, splits=["a", "b"])
    assert [(job.name, [p.id for p in job.prompts]) for job in jobs] == [
        ("a-000000", ["p1", "p3"]), ("b-000000", ["p0", "p2"]), ("b-000001", ["p4"])
    ]  # fmt: skip


def test_collection_defaults_are_the_conditional_branch_at_every_step() -> None:
    assert Collection(hookpoints=(BLOCK,)).steps is None
    assert Collection(hookpoints=(BLOCK, f"{BLOCK}:out")).parsed() == [Hookpoint.parse(BLOCK)]
