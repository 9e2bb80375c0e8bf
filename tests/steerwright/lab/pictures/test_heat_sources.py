"""Heat is what the model itself computes: attention as diffusers' own scores, presence and latents as by hand."""

from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from steerwright.activations.record import record
from steerwright.errors import UserError
from steerwright.lab.pictures.drawing import draw_picture
from steerwright.lab.pictures.heat_sources import AttentionHeat, LatentHeat, PresenceHeat, _Maps, attention_shares
from steerwright.models.attention_blocks import attention_blocks, chosen_blocks
from steerwright.models.generate import generate
from steerwright.models.hookpoints import resolve
from steerwright.sae.activations import Relu
from steerwright.sae.sae import Sae
from steerwright.sae.site import Site
from steerwright.vectors.direction import Direction
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

PROMPT, SEED = "a red house by a lake", 3


@contextmanager
def recorded(model: Any, name: str) -> Any:
    """What one block's cross-attention gives while the picture is drawn, through the library's own recorder."""
    (block,) = chosen_blocks(attention_blocks(model.pipeline), [name])
    with record(model.pipeline, [block.hookpoint]) as recording:
        yield block, recording


def outputs(model: Any, name: str) -> tuple[Any, torch.Tensor]:
    """The block, and its outputs on the prompt's half: [steps, tokens, d]."""
    with recorded(model, name) as (block, recording):
        generate(model, [PROMPT], [SEED])
    # Guidance: [uncond, cond].
    return block, torch.stack([tensor[1] for tensor in recording[block.hookpoint]])


def test_attention_shares_are_those_of_diffusers_own_scores(sd: Any) -> None:
    (block,) = chosen_blocks(attention_blocks(sd.pipeline), ["up.3"])
    module: Any = resolve(sd.pipeline, block.hookpoint)
    given, context = torch.randn(2, 16, block.width), torch.randn(2, 7, module.to_k.in_features)
    query, key = (module.head_to_batch_dim(part) for part in (module.to_q(given), module.to_k(context)))
    wanted = module.get_attention_scores(query, key).view(2, module.heads, 16, 7).mean(1)
    assert torch.allclose(attention_shares(module, given, context), wanted, atol=1e-6)


def test_attention_to_all_tokens_together_is_1_everywhere(sd: Any) -> None:
    blocks = attention_blocks(sd.pipeline)
    count = sd.pipeline.tokenizer.model_max_length
    heat = draw_picture(sd, PROMPT, SEED, heat=AttentionHeat(blocks, tuple(range(count)))).heat
    assert heat is not None and heat.shape == (20, 16, 16)
    assert heat == pytest.approx(np.ones_like(heat), abs=1e-5)


def test_the_word_house_is_attended_to_where_the_house_is(sd: Any) -> None:
    tokens = sd.pipeline.tokenizer(PROMPT).input_ids
    house = next(i for i, token in enumerate(tokens) if sd.pipeline.tokenizer.decode([token]).strip() == "house")
    heat = draw_picture(sd, PROMPT, SEED, heat=AttentionHeat(attention_blocks(sd.pipeline), (house,))).heat
    assert heat is not None
    # The red house of this seed stands left of the middle, in the lower half; above it there is sky.
    mean = heat.mean(0)
    assert mean[9:14, 2:9].mean() > 2 * mean[:4].mean()


def test_presence_is_0_at_the_origin_and_1_a_norm_further(sd: Any) -> None:
    block, tokens = outputs(sd, "up.3")
    unit = torch.zeros(block.width)
    unit[5] = 1.0
    direction = Direction(unit, torch.tensor(2.0), torch.tensor(0.5))
    vectors = SteeringVectors("c", sd.fingerprint, "planted", "all", {VectorKey(block.hookpoint): direction})
    heat = draw_picture(sd, PROMPT, SEED, heat=PresenceHeat(vectors, [block])).heat
    wanted = (tokens[..., 5] - 0.5) / 2.0
    assert heat is not None
    assert heat.reshape(20, -1) == pytest.approx(wanted.numpy(), abs=1e-5)


def test_latents_are_summed_over_what_counts_as_1(sd: Any) -> None:
    block, tokens = outputs(sd, "up.3")
    eye = torch.eye(block.width)
    zeros = torch.zeros(block.width)
    sae = Sae(
        encoder=eye, encoder_bias=zeros, decoder=eye, decoder_bias=zeros, activation=Relu(),
        site=Site(hookpoint=str(block.hookpoint)),
    )  # fmt: skip
    source = LatentHeat({"x": sae}, {"x": {0: torch.tensor([2, 7])}}, {"x": {0: 4.0}})
    heat = draw_picture(sd, PROMPT, SEED, heat=source).heat
    wanted = tokens[..., [2, 7]].relu().sum(-1) / 4.0
    assert heat is not None
    assert heat.reshape(20, -1) == pytest.approx(wanted.numpy(), abs=1e-5)


def test_maps_of_two_grids_are_averaged_on_the_finer_one() -> None:
    maps = _Maps()
    maps.add(0, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    maps.add(0, torch.full((16,), 2.0))
    assert maps.heat()[0].tolist() == [[1.5, 1.5, 2, 2]] * 2 + [[2.5, 2.5, 3, 3]] * 2


def test_tokens_that_make_no_square_are_refused() -> None:
    with pytest.raises(UserError, match="no square"):
        _Maps().add(0, torch.zeros(12))
