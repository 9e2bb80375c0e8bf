"""Maps of latents, against a recording of the whole model encoded latent by latent."""

import numpy as np
import pytest
import torch

from steerwright.activations.record import record
from steerwright.errors import UserError
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import LoadedModel, load_model
from steerwright.models.spec import ModelSpec
from steerwright.sae.activations import TopK
from steerwright.sae.sae import Sae
from steerwright.sae.site import Site
from tasks.latents.cards import LatentMaps, latent_maps, top_maps

PLACES = {"mid": ("unet.mid_block.attentions.0:out", 128), "up": ("unet.up_blocks.1.attentions.0:update", 64)}
PROMPTS, SEEDS = ["a red car in winter", "a cat in a room", "a boat at night"], [4, 5, 6]


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    spec = ModelSpec(name="seasons-sd", source="models/seasons-sd", steps=3, guidance=4.0)
    return load_model(spec, device=torch.device("cpu"))


def sae(name: str) -> Sae:
    hookpoint, width = PLACES[name]
    encoder = torch.randn(40, width, generator=torch.Generator().manual_seed(1))
    return Sae(encoder, torch.zeros(40), encoder, torch.zeros(width), TopK(6), site=Site(hookpoint=hookpoint))


def test_maps_are_the_latents_of_the_prompt_s_branch_on_every_token_of_every_step(model: LoadedModel) -> None:
    wanted = {"mid": [3, 17, 30], "up": [0]}
    found = latent_maps(model, PROMPTS, SEEDS, {name: sae(name) for name in PLACES}, wanted, batch_size=2)
    assert found["mid"].values.shape == (3, 3, 3, 4, 4) and found["up"].values.shape == (3, 1, 3, 8, 8)
    hookpoints = {name: Hookpoint.parse(place) for name, (place, _) in PLACES.items()}
    with record(model.pipeline, hookpoints.values()) as recording:
        generate(model, PROMPTS, SEEDS, batch_size=3)
    for name, latents in wanted.items():
        for step, tensor in enumerate(recording[hookpoints[name]]):
            # Three prompts: the second half of the batch is the conditional one.
            rows = tensor[3:].permute(0, 2, 3, 1)
            dense = sae(name).encode(rows.reshape(-1, rows.shape[-1])).dense().reshape(*rows.shape[:3], 40)
            expected = dense[..., latents].permute(0, 3, 1, 2).numpy()
            assert found[name].values[:, :, step].astype(np.float32) == pytest.approx(expected, rel=2e-2, abs=2e-2)


def test_the_best_pictures_are_those_with_the_largest_mean_and_none_that_are_dark() -> None:
    values = np.zeros((4, 2, 1, 2, 2), np.float16)
    values[2, 0] = 1.0
    values[0, 0, 0, 0, 0] = 3.0
    maps = LatentMaps((7, 9), (0,), values)
    assert maps.strongest(7, 3) == [(2, 1.0), (0, 0.75)]
    assert maps.strongest(9, 3) == []
    rows = [
        (name, latent, rank, picture) for name, latent, rank, picture, _, _ in top_maps({"m": maps}, {"m": [7, 9]}, 1)
    ]
    assert rows == [("m", 7, 1, 2)]


def test_an_autoencoder_without_a_hookpoint_is_refused(model: LoadedModel) -> None:
    lost = Sae(torch.eye(4), torch.zeros(4), torch.eye(4), torch.zeros(4), TopK(1))
    with pytest.raises(UserError, match="lost does not say at which hookpoint"):
        latent_maps(model, PROMPTS, SEEDS, {"lost": lost}, {"lost": [0]})
