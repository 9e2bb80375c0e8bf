"""Edits inside the UNet of a running pipeline: identity, windows, order, what is refused, and what is left behind."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.attention_blocks import attention_blocks
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.schedule import timesteps
from steerwright.steering.algebra import Edit, KeepNorm
from steerwright.steering.apply import steer, steered_batches
from steerwright.steering.attention import AttentionRecipe, attention_edits
from steerwright.steering.operators import Add, Operator, ProjectOut, Replace, Scale, Switch
from steerwright.vectors.direction import Direction
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

PROMPTS = ["a cat", "a longer one", "dog"]
MIDDLE = Hookpoint("unet.mid_block.attentions.0.transformer_blocks.0.attn2")
WIDTH = 32


def axis(at: int = 0, width: int = WIDTH) -> Direction:
    return Direction(torch.eye(width)[at], torch.tensor(2.0), torch.tensor(0.5))


def edit(operator: Operator, strength: float, **how: Any) -> Edit:
    return Edit(MIDDLE, operator, strength, **{"branch": "both", **how})


def latents(pipeline: Any, edits: Sequence[Edit], steps: int = 2, guidance: float = 4.0) -> Tensor:
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS))]
    with steer(pipeline, edits):
        return pipeline(
            PROMPTS, num_inference_steps=steps, guidance_scale=guidance, generator=generators, output_type="latent"
        ).images


def outputs(pipeline: Any, edits: Sequence[Edit], steps: int = 2) -> list[Tensor]:
    """What the middle block's cross-attention gives at every step, after the edits."""
    seen: list[Tensor] = []
    module = pipeline.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    with steer(pipeline, edits):
        watch = module.register_forward_hook(lambda _, __, output: seen.append(output))
        try:
            latents(pipeline, [], steps)
        finally:
            watch.remove()
    return seen


def vectors(pipeline: Any, steps: int, branches: Sequence[str] = ("cond",), model: str = "a1") -> SteeringVectors:
    """For every block one vector for each forward of a run, along the axis of the forward's number."""
    schedule = timesteps(pipeline, steps)
    directions = {
        VectorKey(block.hookpoint, steps=(step, step), branch=branch): axis(step, block.width)
        for block in attention_blocks(pipeline)
        for step in range(len(schedule))
        for branch in branches
    }
    identity = Fingerprint(name=model, source=model, revision=None, digest=model * 32, libraries={})
    return SteeringVectors("winter", identity, "mean_difference", "mean", directions, schedule)


IDENTITIES: list[list[Edit]] = [
    [],
    [edit(Add(axis(), "unit"), 0.0)],
    [edit(Add(axis(), "relative"), 0.0, bound=KeepNorm())],
    [edit(ProjectOut(axis()), 0.0), edit(ProjectOut(axis(), two_sided=True), 0.0)],
    [edit(Switch(axis(0), axis(1)), 0.0)],
    [edit(Replace(torch.ones(WIDTH)), 0.0)],
    # These install a hook and change nothing.
    [edit(Scale(axis(), 1.0), 1.0)],
    [edit(Add(Direction(torch.zeros(WIDTH), torch.tensor(0.0)), "unit"), 5.0)],
    [edit(Add(axis(), "unit"), 5.0, steps=(7, 9))],
    [edit(Add(axis(), "unit"), 5.0, tokens=torch.zeros(16, dtype=torch.bool))],
]


@pytest.mark.parametrize("edits", IDENTITIES)
def test_an_edit_of_nothing_gives_bit_identical_latents(pipeline: Any, edits: list[Edit]) -> None:
    assert torch.equal(latents(pipeline, edits), latents(pipeline, []))
    assert not torch.equal(latents(pipeline, [edit(Add(axis(), "unit"), 5.0)]), latents(pipeline, []))


def test_edits_of_a_block_compose_in_the_order_given(pipeline: Any) -> None:
    erase, add = edit(ProjectOut(axis()), 1.0), edit(Add(axis(), "unit"), 4.0)
    plain = outputs(pipeline, [])[0][..., 0]
    assert (plain > 0).any() and (plain < 0).any()
    torch.testing.assert_close(outputs(pipeline, [erase, add])[0][..., 0], plain.clamp(max=0) + 4)
    torch.testing.assert_close(outputs(pipeline, [add, erase])[0][..., 0], (plain + 4).clamp(max=0))
    # Nested blocks: the outer one's edits come first.
    with steer(pipeline, [erase]):
        torch.testing.assert_close(outputs(pipeline, [add])[0][..., 0], plain.clamp(max=0) + 4)


def test_each_step_has_its_own_vector(pipeline: Any) -> None:
    made = attention_edits(
        "add",
        vectors(pipeline, 3),
        100.0,
        blocks=attention_blocks(pipeline),
        timesteps=timesteps(pipeline, 3),
        recipe=AttentionRecipe(places=["mid"], bound="none"),
    )
    for step, seen in enumerate(outputs(pipeline, made, steps=3)):
        assert (seen > 50).all(dim=(0, 1)).nonzero().flatten().tolist() == [step]


def test_both_visits_of_a_timestep_are_steps_of_their_own(sd21: Any) -> None:
    # PNDM: three steps are four forwards, the second and third at one timestep.
    pipeline = sd21.pipeline
    schedule = timesteps(pipeline, 3)
    assert len(schedule) == 4 and schedule[1] == schedule[2]
    made = attention_edits(
        "add",
        vectors(pipeline, 3),
        100.0,
        blocks=attention_blocks(pipeline),
        timesteps=schedule,
        recipe=AttentionRecipe(places=["mid"], bound="none", window=(1, 2)),
    )
    touched = [(seen > 50).all(dim=(0, 1)).nonzero().flatten().tolist() for seen in outputs(pipeline, made, steps=3)]
    assert touched == [[], [1], [2], []]


def test_vectors_of_both_halves_steer_each_with_its_own(pipeline: Any) -> None:
    own = vectors(pipeline, 1, branches=("cond", "uncond"))
    directions = {slot: axis(5 if slot.branch == "uncond" else 6, d.width) for slot, d in own.directions.items()}
    own = replace(own, directions=directions)
    made = attention_edits(
        "add",
        own,
        100.0,
        blocks=attention_blocks(pipeline),
        timesteps=timesteps(pipeline, 1),
        recipe=AttentionRecipe(places=["mid"], bound="none"),
    )
    (seen,) = outputs(pipeline, made, steps=1)
    for half, feature in ((seen[:3], 5), (seen[3:], 6)):
        assert (half > 50).all(dim=(0, 1)).nonzero().flatten().tolist() == [feature]


def test_the_erased_component_is_gone_in_every_block_and_step(pipeline: Any) -> None:
    everywhere = [
        Edit(block.hookpoint, ProjectOut(axis(0, block.width)), 1.0, branch="both")
        for block in attention_blocks(pipeline)
    ]
    most = [seen[..., 0].max() for seen in outputs(pipeline, everywhere)]
    assert all(value <= 1e-6 for value in most)
    assert all(seen[..., 0].max() > 1e-3 for seen in outputs(pipeline, []))


def held(pipeline: Any) -> list[Any]:
    """Everything that a hook or a wrapped method would show in."""
    modules = [m for part in (pipeline.text_encoder, pipeline.unet, pipeline.vae) for m in part.modules()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), m.__dict__.get("forward")) for m in modules]
    return [sorted(vars(pipeline)), *hooks]


@pytest.mark.parametrize("where", ["in the block", "in the unet", "in the edit"])
def test_hooks_are_gone_after_an_exception_and_images_as_before(pipeline: Any, where: str) -> None:
    plain, before = latents(pipeline, []), held(pipeline)
    made = [Edit(b.hookpoint, Add(axis(0, b.width), "unit"), 5.0, branch="both") for b in attention_blocks(pipeline)]

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    if where == "in the block":
        with pytest.raises(RuntimeError, match="out of memory"), steer(pipeline, made):
            assert held(pipeline) != before
            fail()
    elif where == "in the unet":
        watch = pipeline.unet.up_blocks[-1].register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            latents(pipeline, made)
        watch.remove()
    else:
        five = Edit(MIDDLE, Add(axis(), "unit"), torch.ones(5), branch="both")
        with pytest.raises(UserError, match="strengths for 5 images, but the batch has 3"):
            latents(pipeline, [*made, five])
    assert held(pipeline) == before
    assert torch.equal(latents(pipeline, []), plain)


def test_an_exception_in_one_batch_leaves_nothing_for_the_next(sd21: Any) -> None:
    pipeline = sd21.pipeline
    plain = generate(sd21, PROMPTS, [0, 1, 2], steps=1)
    before = held(pipeline)
    made = steered_batches(sd21, [Edit(MIDDLE, Add(axis(), "unit"), torch.ones(2), branch="both")])
    with pytest.raises(UserError, match="strengths for"):
        generate(sd21, PROMPTS, [0, 1, 2], steps=1, edits=made)
    assert held(pipeline) == before
    assert np.array_equal(generate(sd21, PROMPTS, [0, 1, 2], steps=1), plain)


def test_vectors_refuse_another_model(pipeline: Any, tmp_path: Path) -> None:
    save_vectors(vectors(pipeline, 2), tmp_path / "vectors.safetensors")
    mine, other = (vectors(pipeline, 2, model=name).model for name in ("a1", "b2"))
    assert len(load_vectors(tmp_path / "vectors.safetensors", mine).directions) == len(vectors(pipeline, 2).directions)
    with pytest.raises(UserError, match=r"a1.*b2"):
        load_vectors(tmp_path / "vectors.safetensors", other)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("unet.mid_block.attentions.0.transformer_blocks.7.attn2", r"no module .*transformer_blocks\.7"),
        ("unet.mid_block.attentions.0.transformer_blocks.0.attn9", r"did you mean .*transformer_blocks\.0\.attn[12]"),
        ("transformer.blocks.0", "no module 'transformer.blocks.0' in StableDiffusionPipeline"),
    ],
)
def test_a_hookpoint_that_does_not_exist_is_refused_before_anything_runs(
    pipeline: Any, path: str, message: str
) -> None:
    before = held(pipeline)
    bad = Edit(Hookpoint(path), Add(axis(), "unit"), 1.0)
    with pytest.raises(UserError, match=message), steer(pipeline, [edit(Add(axis(), "unit"), 1.0), bad]):
        raise AssertionError("the block must not be entered")
    assert held(pipeline) == before


def test_vectors_of_a_model_with_other_blocks_or_widths_are_refused(pipeline: Any, sd21: Any) -> None:
    theirs = vectors(sd21.pipeline, 1)
    middle = {slot: found for slot, found in theirs.directions.items() if "mid" in slot.hookpoint.path}
    theirs = replace(theirs, directions=middle)
    with pytest.raises(UserError, match=r"hold nothing at up\.1; they are for unet\.mid_block"):
        attention_edits(
            "add",
            theirs,
            1.0,
            blocks=attention_blocks(pipeline),
            timesteps=timesteps(pipeline, 1),
            recipe=AttentionRecipe(places=["up.1"]),
        )
    wide = Edit(MIDDLE, Add(axis(0, 2 * WIDTH), "unit"), 1.0)
    with pytest.raises(UserError, match=r"ending in \[64\], but the model gives \[3, 16, 32\] there"):
        latents(pipeline, [wide])
