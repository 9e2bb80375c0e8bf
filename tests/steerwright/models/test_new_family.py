"""A new family of pipelines is one class, registered: here Stable Diffusion 3: a transformer, both branches."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from steerwright.activations.record import record
from steerwright.models.families import FAMILIES, Family
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import load_model
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


def test_a_new_family_is_loaded_captured_steered_and_generates(
    sd3_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "sd3", StableDiffusion3())
    spec = ModelSpec(name="sd3", family="sd3", source=str(sd3_folder), steps=3, guidance=4.0)
    model = load_model(spec, device=torch.device("cpu"))
    with record(model.pipeline, [BLOCK]) as recording:
        plain = generate(model, ["a b", "b"], [1, 2])
    # Four rows: the unconditional branch of both pictures, then the prompts'; 16 image tokens of width 32.
    assert [tuple(found.shape) for found in recording[BLOCK]] == [(4, 16, 32)] * 3
    assert plain.shape == (2, 64, 64, 3)
    direction = Direction(torch.eye(32)[0], torch.tensor(1.0))
    edit = Edit(BLOCK, Add(direction, "unit"), torch.tensor([50.0, 0.0]), branch="cond", steps=(1, 2))
    steered = generate(model, ["a b", "b"], [1, 2], edits=steered_batches(model, [edit]))
    assert not np.array_equal(steered[0], plain[0])
    assert np.array_equal(steered[1], plain[1])
