"""FLUX: loading, pictures, steps and branches, against what diffusers does by itself."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from steerwright.activations.record import record
from steerwright.errors import UserError
from steerwright.models.generate import batches, generate, image_size, model_timesteps, run_pipeline
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import load_model, running_dtype
from steerwright.models.running import carries_prompt, track
from steerwright.models.schedule import timesteps
from steerwright.models.select import select_model
from steerwright.models.spec import ModelSpec

CPU = torch.device("cpu")
FIRST = Hookpoint.parse("transformer.x_embedder")
PROMPTS, SEEDS = ["a red house", "the sea at night in winter", ""], [3, 1, 4]


def spec(source: Path | str, **settings: Any) -> ModelSpec:
    known = {"name": "mine", "family": "flux", "source": str(source), "steps": 3, "guidance": 3.5}
    return ModelSpec(**{**known, **settings})


def by_hand(model: Any, prompt: str, seed: int, **asked: Any) -> np.ndarray:
    call = {"num_inference_steps": 4, "guidance_scale": 3.5, "height": 32, "width": 32, "max_sequence_length": 12}
    with torch.inference_mode():
        found = model.pipeline(prompt, generator=torch.Generator().manual_seed(seed), **{**call, **asked}).images[0]
    return np.asarray(found).astype(int)


def test_a_saved_pipeline_loads_by_its_path(flux: Any) -> None:
    assert type(flux.pipeline).__name__ == "FluxPipeline"
    assert flux.dtype == torch.float32
    networks = [part for part in flux.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert len(networks) == 4
    assert not any(part.training or any(p.requires_grad for p in part.parameters()) for part in networks)


def test_a_picture_is_what_the_pipeline_makes_by_hand(flux: Any) -> None:
    for prompt, seed, image in zip(PROMPTS, SEEDS, generate(flux, PROMPTS, SEEDS), strict=True):
        assert np.abs(by_hand(flux, prompt, seed) - image).max() <= 1
    odd = generate(flux, PROMPTS[:1], [3], height=48, width=40, steps=2, guidance=1.0)
    assert odd.shape == (1, 48, 40, 3)
    assert np.abs(by_hand(flux, PROMPTS[0], 3, height=48, width=40, num_inference_steps=2, guidance_scale=1.0)
                  - odd[0]).max() <= 1  # fmt: skip


def test_an_image_depends_on_neither_batch_nor_place(flux: Any) -> None:
    alone = np.concatenate([generate(flux, [prompt], [seed]) for prompt, seed in zip(PROMPTS, SEEDS, strict=True)])
    assert np.abs(generate(flux, PROMPTS, SEEDS).astype(int) - alone).max() <= 1
    assert np.abs(generate(flux, PROMPTS[::-1], SEEDS[::-1], batch_size=2)[::-1].astype(int) - alone).max() <= 1
    assert np.abs(alone[0].astype(int) - alone[1]).mean() > 5


def test_the_model_has_its_own_size_and_makes_whole_tokens_only(flux: Any) -> None:
    # The pipeline's own default is 128 latents, whatever the model is.
    assert flux.pipeline.default_sample_size == 128
    assert image_size(flux) == (32, 32)
    assert image_size(flux, width=64) == (32, 64)
    with pytest.raises(UserError, match="multiples of 8 pixels, not 36x32"):
        generate(flux, ["a"], [0], width=36)


def test_a_negative_prompt_is_refused(flux: Any) -> None:
    with pytest.raises(UserError, match="takes no negative prompt"):
        generate(flux, ["a"], [0], negative_prompt="bad")
    assert len(generate(flux, ["a"], [0], negative_prompt="", steps=1)) == 1


def test_guidance_is_embedded_and_changes_the_picture(flux: Any) -> None:
    weak, strong = (generate(flux, ["a"], [0], guidance=guidance).astype(int) for guidance in (1.0, 6.0))
    assert np.abs(weak - strong).max() > 2


@pytest.mark.parametrize(
    ("kind", "tokenizer", "expected"), [("dev", 12, 12), ("dev", 10**30, 512), ("schnell", 512, 256), ("schnell", 9, 9)]
)
def test_prompts_are_as_long_as_model_and_tokenizer_allow(
    flux_folder: Callable[[str], Path], kind: str, tokenizer: int, expected: int
) -> None:
    model = load_model(spec(flux_folder(kind), steps=1), device=CPU)
    model.pipeline.tokenizer_2.model_max_length = tokenizer
    with track(model.pipeline) as running:
        seen: list[int | None] = []
        handle = model.pipeline.transformer.register_forward_hook(lambda *_: seen.append(running.text_tokens))
        (batch,) = batches(["a"], [0], 1)
        run_pipeline(model, batch, "latent")
        handle.remove()
    assert seen == [expected]


def test_steps_are_the_schedulers_and_the_only_branch_carries_the_prompt(flux: Any) -> None:
    with record(flux.pipeline, [FIRST]) as recording:
        generate(flux, ["a", "b"], [0, 1], steps=5)
    seen, scheduler = recording.captures(FIRST), flux.pipeline.scheduler
    assert [one.step.index for one in seen if one.step] == [0, 1, 2, 3, 4]
    assert [one.step.timestep for one in seen if one.step] == scheduler.timesteps.tolist()
    assert [one.step.sigma for one in seen if one.step] == scheduler.sigmas[:-1].tolist()
    assert all(one.branches == (("none", slice(0, 2)),) for one in seen)
    assert carries_prompt("none")


def test_steps_are_exact_where_the_models_precision_tells_them_alike(flux_folder: Callable[[str], Path]) -> None:
    model = load_model(spec(flux_folder("dev"), dtype="bfloat16", steps=200), device=CPU)
    assert model.dtype == torch.bfloat16
    told: list[float] = []
    handle = model.pipeline.transformer.register_forward_pre_hook(
        lambda _, __, kwargs: told.append(float(kwargs["timestep"][0])), with_kwargs=True
    )
    with record(model.pipeline, [FIRST]) as recording:
        (batch,) = batches(["a"], [0], 1)
        run_pipeline(model, batch, "latent")
    handle.remove()
    assert len(set(told)) < 200
    seen = [one.step for one in recording.captures(FIRST) if one.step]
    assert [step.index for step in seen] == list(range(200))
    assert tuple(step.timestep for step in seen) == model_timesteps(model)
    assert [step.sigma for step in seen] == model.pipeline.scheduler.sigmas[:-1].tolist()


def test_a_forward_outside_a_pipeline_call_has_the_nearest_step(flux: Any) -> None:
    transformer, scheduler = flux.pipeline.transformer, flux.pipeline.scheduler
    generate(flux, ["a"], [0])
    given = {
        "hidden_states": torch.zeros(1, 6, 16), "encoder_hidden_states": torch.zeros(1, 5, 24),
        "pooled_projections": torch.zeros(1, 16), "guidance": torch.ones(1), "txt_ids": torch.zeros(5, 3),
        "img_ids": torch.zeros(6, 3),
    }  # fmt: skip
    with torch.inference_mode(), record(flux.pipeline, [FIRST]) as recording:
        transformer(timestep=torch.tensor([0.6]), **given)
        transformer(timestep=scheduler.timesteps[2:3] / 1000, **given)
    off, on = (capture.step for capture in recording.captures(FIRST))
    assert off is not None and on is not None
    assert (off.index, off.timestep) == (2, pytest.approx(600))
    assert (on.index, on.timestep, on.sigma) == (2, float(scheduler.timesteps[2]), float(scheduler.sigmas[2]))


def test_each_text_encoder_runs_once_and_belongs_to_the_prompt(flux: Any) -> None:
    for path, tokenizer in (("text_encoder.encoder.layers.1", "tokenizer"), ("text_encoder_2", "tokenizer_2")):
        layer = Hookpoint.parse(path)
        with record(flux.pipeline, [layer]) as recording:
            generate(flux, ["red sea"], [0], steps=1)
        (seen,) = recording.captures(layer)
        assert seen.branches == (("none", slice(0, 1)),)
        words = getattr(flux.pipeline, tokenizer)("red sea", padding="max_length", return_tensors="pt").input_ids
        assert seen.token_ids is not None and torch.equal(seen.token_ids, words)


def by_formula(steps: int, tokens: int, dynamic: bool) -> list[float]:
    """The sigmas of FLUX: linear from 1 to 1/steps, and with dynamic shifting s -> e^mu / (e^mu + 1/s - 1)."""
    linear = [1 - i * (1 - 1 / steps) / (steps - 1) for i in range(steps)]
    mu = 0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256)
    return [float(np.exp(mu) / (np.exp(mu) + 1 / s - 1)) if dynamic else s for s in linear]


@pytest.mark.parametrize(("kind", "dynamic"), [("dev", True), ("schnell", False)])
def test_the_schedule_is_known_before_and_depends_on_the_resolution(
    flux_folder: Callable[[str], Path], kind: str, dynamic: bool
) -> None:
    model = load_model(spec(flux_folder(kind)), device=CPU)
    before = model.pipeline.scheduler.timesteps.tolist()
    # A token is 8 pixels wide: 4 x 4 of the model's own size, and 10 x 6.
    for size, tokens in (((None, None), 16), ((80, 48), 60)):
        found = model_timesteps(model, 6, *size)
        assert found == pytest.approx([1000 * sigma for sigma in by_formula(6, tokens, dynamic)], rel=1e-5)
    assert model.pipeline.scheduler.timesteps.tolist() == before
    assert (timesteps(model.pipeline, 6) != found) == dynamic
    with record(model.pipeline, [FIRST]) as recording:
        generate(model, ["a"], [0], steps=6, height=80, width=48)
    assert tuple(one.step.timestep for one in recording.captures(FIRST) if one.step) == found


def test_a_models_own_size_counts_in_its_schedule(flux: Any, flux_folder: Callable[[str], Path]) -> None:
    large = load_model(spec(flux_folder("dev"), height=64, width=96), device=CPU)
    assert image_size(large) == (64, 96)
    assert model_timesteps(large) == timesteps(flux.pipeline, 3, (64, 96)) != timesteps(flux.pipeline, 3)


def test_half_precision_that_overflows_becomes_bfloat16_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    half = spec("x", dtype="float16")
    with caplog.at_level(logging.WARNING):
        assert running_dtype(half, torch.device("cuda")) == torch.bfloat16
    assert "overflow float16" in caplog.text
    assert running_dtype(half, CPU) == torch.float32
    assert running_dtype(spec("x", dtype="bfloat16"), CPU) == torch.bfloat16
    sd = ModelSpec(name="x", source="x", dtype="float16", steps=1, guidance=1)
    assert running_dtype(sd, torch.device("cuda")) == torch.float16


def test_the_families_are_not_taken_for_each_other(flux_folder: Callable[[str], Path], sd21_folder: Path) -> None:
    with pytest.raises(UserError, match=r"holds a FluxPipeline, but the family 'sd' is StableDiffusionPipeline"):
        load_model(spec(flux_folder("dev"), family="sd"), device=CPU)
    with pytest.raises(UserError, match=r"holds a StableDiffusionPipeline, but the family 'flux' is FluxPipeline"):
        load_model(spec(sd21_folder), device=CPU)
    with pytest.raises(UserError, match="--model seasons-flux"):
        load_model(spec("no/such/folder"))


@pytest.mark.parametrize(("kind", "expected"), [("dev", (20, 3.5)), ("schnell", (4, 0.0))])
def test_a_folder_says_its_family_and_runs_with_the_usual_settings(
    flux_folder: Callable[[str], Path], kind: str, expected: tuple[int, float]
) -> None:
    found = select_model(str(flux_folder(kind)), {})
    assert (found.family, found.steps, found.guidance) == ("flux", *expected)


def test_a_spec_is_written_as_before_where_nothing_is_offloaded() -> None:
    assert set(spec("x").model_dump()) == {
        "name", "family", "source", "revision", "dtype", "steps", "guidance", "height", "width"
    }  # fmt: skip
    offloaded = spec("x", offload="model")
    assert offloaded.model_dump()["offload"] == "model"
    assert ModelSpec(**json.loads(offloaded.model_dump_json())) == offloaded
    with pytest.raises(ValueError, match="exclude each other"):
        spec("x", offload="model", device_map="balanced")


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offloading_is_asked_of_the_pipeline_and_leaves_a_cpu_alone(
    flux_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, offload: str
) -> None:
    from diffusers import FluxPipeline

    asked: list[Any] = []
    for name in ("model", "sequential"):
        monkeypatch.setattr(
            FluxPipeline, f"enable_{name}_cpu_offload", lambda _, device, name=name: asked.append((name, device))
        )
    load_model(spec(flux_folder("dev"), offload=offload), device=CPU)
    assert asked == []
    gpu = torch.device("meta")  # stands for any device that is no CPU
    load_model(spec(flux_folder("dev"), offload=offload), device=gpu)
    assert asked == [(offload, gpu)]


def test_a_folder_without_a_transformer_is_named(flux_folder: Callable[[str], Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(flux_folder("dev"), copy)
    shutil.rmtree(copy / "transformer")
    with pytest.raises(UserError, match="could not be loaded"):
        load_model(spec(copy), device=CPU)


def test_a_pipeline_without_a_denoiser_is_said() -> None:
    from steerwright.models.families import denoiser

    with pytest.raises(UserError, match="neither a UNet nor a transformer"):
        denoiser(SimpleNamespace())
