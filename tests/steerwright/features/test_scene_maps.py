"""Rendered scenes at one denoising step: the tensor that the transformer gives for them, on the scenes' own masks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seasons.captions import full_caption
from seasons.render import render_with_mask
from seasons.scene import sample_scenes
from steerwright.errors import UserError
from steerwright.models.load import LoadedModel, load_model
from steerwright.models.spec import ModelSpec
from steerwright.sae.activations import Relu
from steerwright.sae.sae import Sae
from steerwright.sae.site import Site
from tasks.flux.truth import scene_maps

ROOT = Path(__file__).parents[3]
BLOCK, STEP, STEPS = "transformer.transformer_blocks.1", 3, 8


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    source = str(ROOT / "models" / "seasons-flux")
    spec = ModelSpec(name="seasons-flux", family="flux", source=source, steps=STEPS, guidance=3.5)
    return load_model(spec, device=torch.device("cpu"))


def autoencoder(width: int) -> Sae:
    """Latent f reads coordinate f of the tokens, where it is positive."""
    eye = torch.eye(width)
    return Sae(
        encoder=eye, encoder_bias=torch.zeros(width), decoder=eye, decoder_bias=torch.zeros(width),
        activation=Relu(), site=Site(hookpoint=f"{BLOCK}:out:image"),
    )  # fmt: skip


def test_maps_are_of_the_mixed_scene_and_masks_of_the_scene(model: LoadedModel) -> None:
    """By another route: the transformer called by itself on what the pipeline would be given."""
    pipeline: Any = model.pipeline
    scenes, latents = sample_scenes(3, 50), [0, 7, 100]
    maps, masks = scene_maps(model, autoencoder(pipeline.transformer.inner_dim), STEP, scenes, latents, seed=9)
    assert maps.shape == (3, 3, 8, 8) and masks.shape == (3, 64, 64)
    np.testing.assert_array_equal(masks, np.stack([render_with_mask(scene)[1] for scene in scenes]))
    sigma = 1 - STEP / STEPS  # the schedule runs evenly from 1, without a shift
    found: list[torch.Tensor] = []
    hook = pipeline.transformer.transformer_blocks[1].register_forward_hook(lambda *call: found.append(call[2][1]))
    with torch.inference_mode():
        pixels = torch.from_numpy(render_with_mask(scenes[1])[0]).permute(2, 0, 1)[None].float() / 127.5 - 1
        clean = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
        noise = torch.randn(clean.shape[1:], generator=torch.Generator().manual_seed(10))
        mixed = (1 - sigma) * clean + sigma * noise
        tokens = mixed.view(1, 4, 8, 2, 8, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 64, 16)
        text, pooled, text_ids = pipeline.encode_prompt(full_caption(scenes[1]), None, max_sequence_length=24)
        places = torch.zeros(8, 8, 3)
        places[..., 1], places[..., 2] = torch.arange(8)[:, None], torch.arange(8)[None]
        pipeline.transformer(
            hidden_states=tokens, timestep=torch.tensor([sigma]), guidance=torch.tensor([3.5]),
            encoder_hidden_states=text, pooled_projections=pooled, txt_ids=text_ids, img_ids=places.view(64, 3),
        )  # fmt: skip
    hook.remove()
    expected = found[0][0].relu().T.reshape(-1, 8, 8)[latents]
    np.testing.assert_allclose(maps[1], expected.numpy(), rtol=1e-3, atol=1e-4)


def test_a_model_of_another_size_is_refused(flux: Any) -> None:
    with pytest.raises(UserError, match=r"makes pictures of \(32, 32\); set `scenes: 0`"):
        scene_maps(flux, autoencoder(8), 0, sample_scenes(1, 0), [0], seed=0)
