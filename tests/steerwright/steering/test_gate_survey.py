"""A survey says, from unsteered pictures alone, which pictures an edit would change."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from steerwright.experiments.draw import is_gated_by_image, survey
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import TopK
from steerwright.sae.sae import Sae
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import steer
from steerwright.steering.latents.gates import LatentsInImage, image_means, token_values
from steerwright.steering.latents.operators import AddLatents, EditLatents, LatentPart, ScaleLatents

Draw = Callable[..., Tensor]
MID = Hookpoint("unet.mid_block.attentions.0")
PROMPTS = ["a cat", "dog", "a longer one", "b"]
LATENTS = torch.tensor([0, 3, 5])


def sae() -> Sae:
    draw = torch.Generator().manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(48, 32, generator=draw), dim=1)
    return Sae(decoder.clone(), torch.zeros(48), decoder, torch.zeros(32), TopK(12))


def edits(threshold: float, **gate: Any) -> list[Edit]:
    known = sae()
    operator = EditLatents(known, (LatentPart(LATENTS, AddLatents(torch.full((3,), 4.0))),))
    found = LatentsInImage(MID, known, LATENTS, torch.ones(3), 0.0, threshold, **gate)
    return [Edit(MID, operator, 1.0, steps=(step, step), gate=found) for step in (0, 1)]


def test_means_over_an_image_are_those_of_its_tokens() -> None:
    known, x = sae(), torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(4))
    every = torch.arange(known.size)
    assert torch.allclose(image_means(known, x), token_values(known, x, every).mean(1), atol=1e-6)


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("gate", [{}, {"held_from": 1}])
def test_pictures_change_where_the_survey_says_and_the_others_are_the_unsteered_ones(
    pipeline: Any, draw: Draw, quantile: float, gate: dict[str, int]
) -> None:
    seen: list[Tensor] = []
    watch = pipeline.unet.mid_block.attentions[0].register_forward_hook(
        lambda module, args, output: seen.append(output[0].flatten(2).transpose(1, 2)[4:])
    )
    plain = draw(PROMPTS)
    watch.remove()
    presence = torch.cat([image_means(sae(), tokens)[:, LATENTS].sum(1) for tokens in seen])
    some = edits(float(presence.quantile(quantile)), **gate)
    with survey(pipeline, {"some": some, "all": edits(-1e9), "none": edits(1e9)}) as found:
        assert torch.equal(draw(PROMPTS), plain)
    with steer(pipeline, some):
        steered = draw(PROMPTS)
    changed = (steered != plain).flatten(1).any(1)
    assert torch.equal(found.acts("some"), changed)
    assert found.acts("all").all()
    assert not found.acts("none").any()


def test_calls_of_the_pipeline_count_on(pipeline: Any, draw: Draw) -> None:
    with survey(pipeline, {"all": edits(-1e9)}) as found:
        assert len(found.acts("all")) == 0
        for size in (2, 1, 4):
            draw(PROMPTS[:size])
    assert found.acts("all").tolist() == [True] * 7


def test_edits_that_act_everywhere_are_refused(pipeline: Any) -> None:
    ungated = [Edit(MID, EditLatents(sae(), (LatentPart(LATENTS, ScaleLatents(0.0)),)), 1.0)]
    assert not is_gated_by_image(ungated)
    assert is_gated_by_image(edits(0.0))
    with pytest.raises(ValueError, match="'plain' act in every image"), survey(pipeline, {"plain": ungated}):
        pass
    assert not pipeline.unet.mid_block.attentions[0]._forward_hooks
