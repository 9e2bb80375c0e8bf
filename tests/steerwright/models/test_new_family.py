"""A new family of pipelines is one class, registered: here Stable Diffusion 3: a transformer, both branches."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from steerwright.activations.record import record
from steerwright.errors import UserError
from steerwright.models.families import FAMILIES, Family, family_of, register
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import load_model
from steerwright.models.schedule import timesteps
from steerwright.models.spec import ModelSpec
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import steered_batches
from steerwright.steering.operators import Add
from steerwright.vectors.direction import Direction

BLOCK = Hookpoint.parse("transformer.transformer_blocks.0:out:image")


class StableDiffusion3(Family):
    name, root, noun, embedded = "sd3", "transformer", "transformer", "seasons-sd"
    classes: ClassVar = {"StableDiffusion3Pipeline": {"text_encoder_3": None, "tokenizer_3": None}}
    places: ClassVar = {"hidden_states": 0, "encoder_hidden_states": 1, "pooled_projections": 2, "timestep": 3}

    def matches(self, pipeline: Any) -> bool:
        return super().matches(pipeline) and type(pipeline.transformer).__name__.startswith("SD3")

    def image_pixels(self, pipeline: Any) -> tuple[int, int]:
        side = pipeline.transformer.config.sample_size * pipeline.vae_scale_factor
        return side, side


@pytest.fixture
def folder(shaped: Any, tmp_path: Path) -> Path:
    """A tiny pipeline of the shape of SD3, on disk; its text encoders are those of the SDXL shape."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    xl = shaped("sdxl").pipeline
    encoder = xl.text_encoder_2
    vae = copy.deepcopy(xl.vae)
    vae.register_to_config(shift_factor=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
            num_attention_heads=4, joint_attention_dim=64, caption_projection_dim=32, pooled_projection_dim=24,
            pos_embed_max_size=16,
        )  # fmt: skip
        # As initialised the last layer gives zeros, whatever runs before it.
        torch.nn.init.normal_(transformer.proj_out.weight, std=0.2)
    StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(), vae=vae,
        text_encoder=copy.deepcopy(encoder), tokenizer=xl.tokenizer_2, text_encoder_2=copy.deepcopy(encoder),
        tokenizer_2=xl.tokenizer_2, text_encoder_3=None, tokenizer_3=None,
    ).save_pretrained(tmp_path / "sd3")  # fmt: skip
    return tmp_path / "sd3"


@pytest.fixture
def known() -> Iterator[None]:
    register(StableDiffusion3())
    yield
    del FAMILIES["sd3"]


def test_a_new_family_is_loaded_captured_steered_and_generates(known: None, folder: Path) -> None:
    spec = ModelSpec(name="sd3", family="sd3", source=str(folder), steps=3, guidance=4.0)
    model = load_model(spec, device=torch.device("cpu"))
    with record(model.pipeline, [BLOCK]) as recording:
        plain = generate(model, ["a b", "b"], [1, 2])
    # Four rows: the unconditional branch of both pictures, then the prompts'; 16 image tokens of width 32.
    assert [tuple(found.shape) for found in recording[BLOCK]] == [(4, 16, 32)] * 3
    assert plain.shape == (2, 64, 64, 3)
    assert len(timesteps(model.pipeline, 3)) == 3
    direction = Direction(torch.eye(32)[0], torch.tensor(1.0))
    edit = Edit(BLOCK, Add(direction, "unit"), torch.tensor([50.0, 0.0]), branch="cond", steps=(1, 2))
    steered = generate(model, ["a b", "b"], [1, 2], edits=steered_batches(model, [edit]))
    assert not np.array_equal(steered[0], plain[0])
    assert np.array_equal(steered[1], plain[1])


def test_without_it_the_pipeline_is_refused_and_never_taken_for_another(folder: Path) -> None:
    from diffusers import StableDiffusion3Pipeline

    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    with pytest.raises(UserError, match="denoises by a SD3Transformer2DModel, which is of none of the families"):
        family_of(pipeline)
