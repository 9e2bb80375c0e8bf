"""Edits by latents inside a running UNet: maps and tokens, branches of guidance, steps, images, what is left after."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from steerwright.activations.record import record
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import TopK
from steerwright.sae.sae import Sae
from steerwright.sae.site import Site
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import steer
from steerwright.steering.gates import Always
from steerwright.steering.latents.gates import LatentsInImage, token_values
from steerwright.steering.latents.operators import (
    AddLatents,
    EditLatents,
    LatentChange,
    LatentPart,
    ReplacePatches,
    SaeuronEdit,
    ScaleByMean,
    ScaleLatents,
    SetLatents,
)

Draw = Callable[..., Tensor]
MID = Hookpoint("unet.mid_block.attentions.0")
UP = Hookpoint("unet.up_blocks.1.attentions.0", "update")
DOWN = Hookpoint("unet.down_blocks.0.attentions.0")
PROMPTS = ["a cat", "dog", "a longer one"]
LATENTS = torch.tensor([0, 3, 5])


def sae(hookpoint: Hookpoint, seed: int = 0) -> Sae:
    width = 32 if hookpoint == MID else 16
    draw = torch.Generator().manual_seed(seed)
    decoder = torch.nn.functional.normalize(torch.randn(48, width, generator=draw), dim=1)
    bias = torch.zeros(48)
    return Sae(decoder.clone(), bias, decoder, torch.zeros(width), TopK(12), site=Site(hookpoint=str(hookpoint)))


def edit(hookpoint: Hookpoint, change: LatentChange, strength: float = 1.0, gate: Any = None, **more: Any) -> Edit:
    operator = EditLatents(sae(hookpoint), (LatentPart(LATENTS, change, gate),))
    return Edit(hookpoint, operator, strength, **more)


def at(pipeline: Any, hookpoint: Hookpoint, draw: Draw, edits: list[Edit], guidance: float = 4.0) -> list[Tensor]:
    """What the hookpoint gives at each step, after the edits, as tokens [rows, tokens, d]."""
    with steer(pipeline, edits), record(pipeline, [hookpoint]) as recording:
        draw(PROMPTS, guidance)
    return [tensor.flatten(2).transpose(1, 2) for tensor in recording[hookpoint]]


@pytest.mark.parametrize("hookpoint", [MID, UP, DOWN], ids=str)
def test_an_identity_edit_of_a_feature_map_gives_the_same_picture_to_the_bit(
    pipeline: Any, draw: Draw, hookpoint: Hookpoint
) -> None:
    plain = draw(PROMPTS)
    with steer(pipeline, [edit(hookpoint, ScaleLatents(1.0), 3.0, branch="both")]):
        assert torch.equal(draw(PROMPTS), plain)
    with steer(pipeline, [edit(hookpoint, ScaleLatents(-4.0), 3.0, branch="both")]):
        assert not torch.equal(draw(PROMPTS), plain)


@pytest.mark.parametrize("hookpoint", [MID, UP], ids=str)
def test_the_tokens_of_the_first_step_change_by_the_decoded_difference(
    pipeline: Any, draw: Draw, hookpoint: Hookpoint
) -> None:
    before = at(pipeline, hookpoint, draw, [])[0]
    after = at(pipeline, hookpoint, draw, [edit(hookpoint, ScaleLatents(0.0), branch="cond")])[0]
    known = sae(hookpoint)
    dense = known.encode(before.reshape(-1, before.shape[-1])).dense()
    removed = (dense[:, LATENTS] @ known.decoder[LATENTS]).view_as(before)
    assert removed[3:].abs().max() > 1e-3
    assert torch.equal(after[:3], before[:3]), "the unconditional half is not edited"
    assert torch.allclose(after[3:], before[3:] - removed[3:], atol=1e-5)


def test_branches_of_guidance_are_edited_as_asked(pipeline: Any, draw: Draw) -> None:
    add = AddLatents(torch.ones(3))
    plain = at(pipeline, MID, draw, [])[0]
    step = (sae(MID).decoder[LATENTS]).sum(0)
    for branch, (uncond, cond) in {"cond": (0, 1), "uncond": (1, 0), "both": (1, 1), "opposed": (-1, 1)}.items():
        change = at(pipeline, MID, draw, [edit(MID, add, branch=branch)])[0] - plain
        assert torch.allclose(change[:3], (uncond * step).expand_as(change[:3]), atol=1e-5), branch
        assert torch.allclose(change[3:], (cond * step).expand_as(change[3:]), atol=1e-5), branch


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_without_guidance_the_only_half_is_edited(pipeline: Any, draw: Draw, guidance: float) -> None:
    plain = at(pipeline, MID, draw, [], guidance)[0]
    change = at(pipeline, MID, draw, [edit(MID, AddLatents(torch.ones(3)))], guidance)[0] - plain
    assert len(change) == 3
    assert torch.allclose(change, sae(MID).decoder[LATENTS].sum(0).expand_as(change), atol=1e-5)


def test_every_step_has_latents_of_its_own(pipeline: Any, draw: Draw) -> None:
    plain = at(pipeline, MID, draw, [])
    known = sae(MID)
    sets = [torch.tensor([1, 2]), torch.tensor([7, 9])]
    edits = [
        Edit(MID, EditLatents(known, (LatentPart(latents, AddLatents(torch.ones(2))),)), 1.0, steps=(step, step))
        for step, latents in enumerate(sets)
    ]
    found = at(pipeline, MID, draw, edits)
    assert torch.allclose(found[0][3:] - plain[0][3:], known.decoder[sets[0]].sum(0), atol=1e-5)
    # By the second step the picture itself has changed: with that step's edit alone only the edit is new.
    alone = at(pipeline, MID, draw, edits[1:])
    assert torch.equal(alone[0], plain[0])
    assert torch.allclose(alone[1][3:] - plain[1][3:], known.decoder[sets[1]].sum(0), atol=1e-5)


def telling(pipeline: Any, draw: Draw) -> tuple[int, int, float]:
    """A latent, the image whose mean of it is above a threshold at every step, and this threshold."""
    steps = at(pipeline, MID, draw, [])
    found = torch.stack([token_values(sae(MID), tokens[3:], torch.arange(48)).mean(1) for tokens in steps])
    second, highest = found.topk(2, dim=1).values[:, 1].amax(0), found.amin(0)
    latent = int((highest.amax(0) - second).argmax())
    image, threshold = int(highest[:, latent].argmax()), float((highest[:, latent].max() + second[latent]) / 2)
    assert second[latent] < threshold < highest[image, latent], "no latent tells these prompts apart"
    return latent, image, threshold


@pytest.mark.parametrize("edited", [MID, UP, DOWN], ids=str)
@pytest.mark.parametrize("by_part", [False, True])
def test_only_images_whose_latents_are_active_change(
    pipeline: Any, draw: Draw, edited: Hookpoint, by_part: bool
) -> None:
    latent, highest, threshold = telling(pipeline, draw)
    others = [image for image in range(3) if image != highest]
    gate = LatentsInImage(MID, sae(MID), torch.tensor([latent]), torch.ones(1), 0.0, threshold)
    change = AddLatents(torch.full((3,), 5.0))
    wanted = edit(edited, change, gate=gate) if by_part else Edit(
        edited, EditLatents(sae(edited), (LatentPart(LATENTS, change),)), 1.0, gate=gate
    )  # fmt: skip
    assert isinstance(wanted.gate, Always) == by_part
    plain = draw(PROMPTS)
    with steer(pipeline, [wanted]):
        steered = draw(PROMPTS)
    assert torch.equal(steered[others], plain[others])
    assert not torch.equal(steered[highest], plain[highest])


def test_presence_is_in_units_of_the_concept(pipeline: Any) -> None:
    known = sae(MID)
    x = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(2))
    weights = torch.tensor([2.0, -1.0, 0.5])
    gate = LatentsInImage(MID, known, LATENTS, weights, 0.25)
    dense = known.encode(x.reshape(-1, 32)).dense()[:, LATENTS].view(2, 4, 3)
    assert torch.allclose(gate.presence(x), (dense.mean(1) * weights).sum(1) - 0.25, atol=1e-6)


def test_an_image_does_not_depend_on_its_batch(pipeline: Any, draw: Draw) -> None:
    edits = [edit(MID, SetLatents(torch.ones(3)), 1.5), edit(UP, ScaleLatents(-2.0))]
    with steer(pipeline, edits):
        together, first = draw(PROMPTS), draw(PROMPTS[:1])
    assert torch.allclose(together[:1], first, atol=1 / 255)


def test_flagged_patches_of_the_prompts_half_become_those_of_the_other(pipeline: Any, draw: Draw) -> None:
    before = at(pipeline, MID, draw, [])[0]
    uncond, cond = before[:3], before[3:]
    values = token_values(sae(MID), cond, LATENTS).amax(-1)
    threshold = float(values.median())
    operator = ReplacePatches(sae(MID), LATENTS, threshold, "uncond")
    after = at(pipeline, MID, draw, [Edit(MID, operator, 1.0)])[0]
    flagged = (values > threshold)[..., None]
    assert 0 < flagged.sum() < flagged.numel()
    assert torch.equal(after[:3], uncond)
    assert torch.allclose(after[3:], torch.where(flagged, uncond, cond), atol=1e-5)
    with pytest.raises(UserError, match="guidance above 1"), steer(pipeline, [Edit(MID, operator, 1.0)]):
        draw(PROMPTS, 1.0)


def test_saeuron_edits_both_halves(pipeline: Any, draw: Draw) -> None:
    known, before = sae(MID), at(pipeline, MID, draw, [])[0]
    change = ScaleByMean(-3.0, torch.ones(3), torch.zeros(3))
    after = at(pipeline, MID, draw, [Edit(MID, SaeuronEdit(known, LATENTS, change), 1.0, branch="both")])[0]
    rows = before.reshape(-1, 32)
    dense = known.encode(rows).dense()
    reconstruction = dense @ known.decoder
    dense[:, LATENTS] *= -3.0
    assert torch.allclose(after, (dense @ known.decoder + reconstruction - rows).view_as(before), atol=1e-4)


def test_hooks_are_gone_after_an_exception(pipeline: Any, draw: Draw) -> None:
    modules = list(pipeline.unet.modules())

    def hooks() -> int:
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)

    plain, before = draw(PROMPTS), hooks()
    gate = LatentsInImage(MID, sae(MID), LATENTS, torch.ones(3), 0.0, -1.0)
    wrong = Edit(UP, EditLatents(sae(MID), (LatentPart(LATENTS, ScaleLatents(0.0)),)), 1.0, gate=gate)
    with pytest.raises(UserError, match="belongs to another hookpoint"), steer(pipeline, [wrong]):
        assert hooks() > before
        draw(PROMPTS)
    assert hooks() == before
    assert torch.equal(draw(PROMPTS), plain)
