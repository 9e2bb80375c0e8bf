"""Rows of FLUX: what hooks, nnsight and a store hold, of text and image tokens, and pictures beside them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from steerwright.activations import denoiser as collect_latents
from steerwright.activations.denoiser import collect_pictures, collect_rows, collect_shard, commit_collection
from steerwright.activations.prompt_tokens import prompt_token_types
from steerwright.activations.record import record
from steerwright.activations.shard_plan import CollectedPrompt, parse_collection, plan_collection
from steerwright.activations.store.reader import Store, open_store
from steerwright.activations.store.rows import Rows
from steerwright.activations.trace import trace_images
from steerwright.errors import UserError
from steerwright.models.generate import batches, generate, run_pipeline
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import LoadedModel, load_model

DOUBLE, SINGLE = "transformer.transformer_blocks", "transformer.single_transformer_blocks"
POINTS = [
    f"{DOUBLE}.0.ff", f"{DOUBLE}.0.ff_context", f"{DOUBLE}.1", f"{DOUBLE}.1:out:text", f"{SINGLE}.0:update",
    f"{SINGLE}.0.attn:in:text",
]  # fmt: skip
PROMPTS = [
    CollectedPrompt(id=f"p{i}", prompt="a red house"[: 1 + 5 * (i % 3)], split="train", seed=100 + i) for i in range(5)
]


@pytest.fixture(autouse=True)
def the_loaded_model(flux: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_latents, "load_once", lambda spec, digest: flux)


def collected(model: Any, folder: Path, **asked: Any) -> Store:
    asked = {"hookpoints": POINTS, "batch_size": 2, "prompts_per_shard": 2, **asked}
    jobs = plan_collection(model, PROMPTS, parse_collection(asked), folder)
    for job in jobs:
        assert collect_shard(job) == "collected"
    commit_collection(jobs)
    return open_store(folder)


def rows(store: Store, hookpoint: str, **where: Any) -> torch.Tensor:
    point = Hookpoint.parse(hookpoint)
    index = store.index(point).with_row_index("row").filter(*(pl.col(k) == v for k, v in where.items()))
    return store.read(point)[index.sort("prompt", "token")["row"].to_list()]


def whole(model: Any, points: list[str], some: list[CollectedPrompt], **options: Any) -> Any:
    """What hooks see in a run of one picture after the other, decoder and all."""
    with record(model.pipeline, [Hookpoint.parse(text) for text in points]) as recording:
        generate(model, [one.prompt for one in some], [one.seed for one in some], batch_size=1, **options)
    return recording


def test_nnsight_reads_what_hooks_read(flux: Any) -> None:
    points = [Hookpoint.parse(text) for text in [*POINTS, f"{DOUBLE}.0.attn:out:text", f"{SINGLE}.1:in"]]

    def call() -> dict[str, Any]:
        seeds = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        return {"num_inference_steps": 2, "generator": seeds, "output_type": "np", "height": 32, "width": 48,
                "max_sequence_length": 12}  # fmt: skip

    prompts = ["a red house", "sea"]
    traced, output = trace_images(flux.pipeline, points, prompts, **call())
    with torch.inference_mode(), record(flux.pipeline, points) as recording:
        images = flux.pipeline(prompts, **call()).images
    assert np.array_equal(output.images, images)
    for point in points:
        assert len(traced[point]) == len(recording[point]) == 2
        assert all(torch.equal(a, b) for a, b in zip(traced[point], recording[point], strict=True))


def test_a_store_holds_what_hooks_see_in_a_whole_run(flux: Any, tmp_path: Path) -> None:
    store = collected(flux, tmp_path)
    seen = whole(flux, POINTS, PROMPTS)
    for text in POINTS:
        point, text_tokens = Hookpoint.parse(text), Hookpoint.parse(text).tokens == "text"
        assert store.layout(point).grid == ((12,) if text_tokens else (4, 4))
        assert store.layout(point).width == 16
        captures = seen.captures(point)
        for step in range(4):
            alone = torch.cat([captures[4 * picture + step].tensor[0] for picture in range(5)])
            found = rows(store, text, step=step, branch="none")
            torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)
    said = store.index(Hookpoint.parse(POINTS[0])).filter(step=2)
    step = seen.captures(Hookpoint.parse(POINTS[0]))[2].step
    assert set(said["timestep"]) == {step.timestep} and set(said["sigma"]) == {step.sigma}
    assert set(zip(said["prompt"], said["seed"], strict=True)) == {(one.id, one.seed) for one in PROMPTS}
    assert store.manifest.provenance["resolution"] == [32, 32]


def test_text_rows_say_what_kind_of_token_they_are(flux: Any, tmp_path: Path) -> None:
    store = collected(flux, tmp_path, hookpoints=[f"{DOUBLE}.0:out:text", f"{DOUBLE}.0"], steps=[0])
    words = store.index(Hookpoint.parse(f"{DOUBLE}.0:out:text"))
    # T5 puts nothing before the prompt: as many content tokens as it has letters, one end, and padding up to 12.
    for one in PROMPTS[:3]:
        types = words.filter(pl.col("prompt") == one.id).sort("token")["token_type"].to_list()
        expected = ["content"] * len(one.prompt) + ["eos"] + ["padding"] * (11 - len(one.prompt))
        assert types == expected
    assert store.index(Hookpoint.parse(f"{DOUBLE}.0"))["token_type"].unique().to_list() == ["image"]


def test_token_types_of_a_tokenizer_with_and_without_a_bos(flux: Any) -> None:
    with_bos, without = flux.pipeline.tokenizer, flux.pipeline.tokenizer_2
    ids = [tokenizer(["ab", ""], padding="max_length", return_tensors="pt").input_ids[:, :5] for tokenizer in
           (with_bos, without)]  # fmt: skip
    first, second = (prompt_token_types(*pair) for pair in zip((with_bos, without), ids, strict=True))
    assert first["bos"].int().tolist() == [[1, 0, 0, 0, 0]] * 2 and not second["bos"].any()
    assert first["content"].int().tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert second["content"].int().tolist() == [[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert second["eos"].int().tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0]]
    assert second["padding"].int().tolist() == [[0, 0, 0, 1, 1], [0, 1, 1, 1, 1]]


def test_a_sample_of_tokens_is_part_of_them_all(flux: Any, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"hookpoints": [f"{DOUBLE}.1", f"{DOUBLE}.1:out:text"], "steps": [1, 3]}
    every = collected(flux, tmp_path / "all", **asked)
    some = collected(flux, tmp_path / "some", tokens=5, **asked)
    for text in asked["hookpoints"]:
        point = Hookpoint.parse(text)
        left = some.index(point)
        assert left.group_by("prompt", "step").len()["len"].unique().to_list() == [5]
        keys = ["prompt", "step", "token", "token_type"]
        both = every.index(point).with_row_index("a").join(left.with_row_index("b"), on=keys)
        assert len(both) == len(left)
        assert torch.equal(every.read(point)[both["a"].to_list()], some.read(point)[both["b"].to_list()])


def test_a_run_ends_with_what_is_asked_for(flux: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before, ran, transformer = generate(flux, ["a"], [1]), [], flux.pipeline.transformer
    watched = {"double": transformer.transformer_blocks[1], "single": transformer.single_transformer_blocks[0]}
    handles = [m.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, m in watched.items()]
    monkeypatch.setattr(flux.pipeline.vae, "decode", lambda *_, **__: ran.append("decoder"))
    found: list[Rows] = []
    collection = parse_collection({"hookpoints": [f"{DOUBLE}.1", f"{DOUBLE}.0:out:text"], "steps": [1]})
    collect_rows(flux, PROMPTS[:1], collection, found.append)
    monkeypatch.undo()
    for handle in handles:
        handle.remove()
    assert ran == ["double", "single", "double"]
    assert {(str(one.hookpoint), one.step.index) for one in found if one.step} == {
        (f"{DOUBLE}.1:out:image", 1), (f"{DOUBLE}.0:out:text", 1)
    }  # fmt: skip
    assert "encode_prompt" not in vars(flux.pipeline)
    assert np.array_equal(generate(flux, ["a"], [1]), before)


def test_grids_of_pictures_that_are_not_square(flux: Any) -> None:
    large = LoadedModel(flux.spec.model_copy(update={"height": 32, "width": 56}), flux.pipeline, flux.fingerprint,
                        flux.device)  # fmt: skip
    found: list[Rows] = []
    points = [f"{DOUBLE}.0", f"{SINGLE}.1", f"{SINGLE}.1:out:text"]
    collect_rows(large, PROMPTS[:3], parse_collection({"hookpoints": points, "steps": [0]}), found.append)
    assert [(one.grid, tuple(one.values.shape)) for one in found] == [
        ((4, 7), (3, 28, 16)), ((4, 7), (3, 28, 16)), ((12,), (3, 12, 16))
    ]  # fmt: skip
    # A token's place: nudging the picture's noise at its last column changes what a first block sees there alone.
    (batch,) = batches([PROMPTS[0].prompt], [PROMPTS[0].seed], 1)
    entry = Hookpoint.parse("transformer.x_embedder")
    noise = torch.randn(1, 28, 16, generator=torch.Generator().manual_seed(5))
    changed = noise.clone().view(1, 4, 7, 16)
    changed[:, 2, 6] += 1
    seen = []
    for latents in (noise, changed.view(1, 28, 16)):
        with record(flux.pipeline, [entry]) as recording, torch.inference_mode():
            flux.pipeline(list(batch.prompts), height=32, width=56, latents=latents, num_inference_steps=1,
                          max_sequence_length=12, output_type="latent")  # fmt: skip
        seen.append(recording[entry][0].view(4, 7, 16))
    moved = (seen[0] != seen[1]).any(-1)
    assert moved.nonzero().tolist() == [[2, 6]]


def test_pictures_and_rows_come_of_one_run(flux: Any) -> None:
    collection = parse_collection({"hookpoints": POINTS, "steps": [2], "batch_size": 2})
    plain: list[Rows] = []
    collect_rows(flux, PROMPTS, collection, lambda one: plain.append(copied(one)))
    found: list[Rows] = []
    pictures, when = [], []
    for batch, images in collect_pictures(flux, PROMPTS, collection, lambda one: found.append(copied(one))):
        pictures.append(images)
        when.append((batch.stop, len(found)))
    assert np.array_equal(np.concatenate(pictures), generate(flux, [p.prompt for p in PROMPTS],
                                                            [p.seed for p in PROMPTS], batch_size=2))  # fmt: skip
    assert when == [(2, 6), (4, 12), (5, 18)]
    for one, other in zip(found, plain, strict=True):
        assert (one.hookpoint, one.step, list(one.prompts), one.grid) == (
            other.hookpoint, other.step, list(other.prompts), other.grid
        )  # fmt: skip
        assert torch.equal(one.values, other.values)


def test_rows_beside_pictures_are_as_edits_left_them_and_of_the_size_that_is_made(flux: Any) -> None:
    block = flux.pipeline.transformer.transformer_blocks[0]

    @contextmanager
    def edits(_: Any) -> Iterator[None]:
        handle = block.register_forward_hook(lambda _, __, output: (output[0], output[1] + 1))
        yield
        handle.remove()

    collection = parse_collection({"hookpoints": [f"{DOUBLE}.0"], "steps": [0]})
    found: dict[bool, Rows] = {}
    for edited in (False, True):
        take = partial(keep, found, edited)
        pictures = collect_pictures(
            flux, PROMPTS[:1], collection, take, height=48, steps=1, edits=edits if edited else None
        )
        assert next(pictures)[1].shape == (1, 48, 32, 3)
        list(pictures)
    assert found[True].grid == (6, 4)
    assert torch.equal(found[True].values, found[False].values + 1)


def keep(found: dict[bool, Rows], key: bool, one: Rows) -> None:
    found[key] = copied(one)


def copied(one: Rows) -> Rows:
    return Rows(one.hookpoint, one.values.clone(), one.prompts, one.seeds, one.step, one.branch, one.grid)


def test_stable_diffusion_gives_pictures_and_rows_as_well(sd21: Any) -> None:
    collection = parse_collection({"hookpoints": ["unet.mid_block"], "steps": [1], "branches": ["cond", "uncond"]})
    plain: list[Rows] = []
    collect_rows(sd21, PROMPTS[:2], collection, lambda one: plain.append(copied(one)))
    found: list[Rows] = []
    ((_, images),) = collect_pictures(sd21, PROMPTS[:2], collection, lambda one: found.append(copied(one)))
    assert images.shape == (2, 64, 64, 3)
    assert [one.branch for one in found] == ["uncond", "cond"]
    assert all(torch.equal(one.values, other.values) for one, other in zip(found, plain, strict=True))


def test_rows_that_are_not_finite_are_counted_and_dropped(
    flux: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(flux.spec.model_copy(update={"dtype": "bfloat16"}), device=flux.device)
    monkeypatch.setattr(collect_latents, "load_once", lambda spec, digest: model)

    def overflow(_: Any, __: Any, output: Any) -> Any:
        text, image = output
        image = image.clone()
        image[:, 3, 2] = torch.inf
        image[0, 5, 0] = torch.nan
        return text, image

    model.pipeline.transformer.transformer_blocks[1].register_forward_hook(overflow)
    store = collected(model, tmp_path, hookpoints=[f"{DOUBLE}.1", f"{DOUBLE}.1:out:text"], steps=[0])
    assert store.manifest.dtype == "bfloat16"
    dropped, held = (
        {text: sum(getattr(shard, name)[text] for shard in store.manifest.shards) for text in
         (f"{DOUBLE}.1:out:image", f"{DOUBLE}.1:out:text")}
        for name in ("dropped", "rows")
    )  # fmt: skip
    # Token 3 of every picture, and token 5 of the first of each of the three batches.
    assert dropped == {f"{DOUBLE}.1:out:image": 5 + 3, f"{DOUBLE}.1:out:text": 0}
    assert held == {f"{DOUBLE}.1:out:image": 5 * 16 - 8, f"{DOUBLE}.1:out:text": 5 * 12}
    assert torch.isfinite(store.read(Hookpoint.parse(f"{DOUBLE}.1")).float()).all()
    assert 3 not in store.index(Hookpoint.parse(f"{DOUBLE}.1"))["token"].to_list()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"hookpoints": ["text_encoder_2.encoder.block.0"]}, r"not in the transformer, .* name one of transformer\.\*"),
        ({"branches": ["cond", "uncond"]}, "guidance embedded: there is no unconditional branch"),
        ({"branches": ["uncond"]}, "guidance embedded: there is no unconditional branch"),
        ({"steps": [4]}, "no denoising step 4: tiny-flux makes 4"),
        ({"hookpoints": [f"{DOUBLE}.7"]}, "did you mean"),
        ({"hookpoints": ["unet.mid_block"]}, "no module 'unet.mid_block'"),
    ],
)
def test_what_flux_has_not_is_refused_before_anything_runs(
    flux: Any, tmp_path: Path, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        plan_collection(flux, PROMPTS, parse_collection({"hookpoints": POINTS, **asked}), tmp_path)


def test_a_module_without_tokens_is_refused(flux: Any) -> None:
    for path in (f"{DOUBLE}.0.norm1.linear", f"{DOUBLE}.0.attn.norm_q"):
        with pytest.raises(UserError, match="which has no tokens; name a block"):
            collect_rows(flux, PROMPTS[:1], parse_collection({"hookpoints": [path]}), lambda _: None)


def test_hooks_do_not_change_latents(flux: Any) -> None:
    (batch,) = batches(["a red house"], [1], 1)
    plain = run_pipeline(flux, batch, "latent")
    with record(flux.pipeline, [Hookpoint.parse(text) for text in POINTS]):
        assert torch.equal(run_pipeline(flux, batch, "latent"), plain)
