from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.steering.algebra import Edit, for_images
from steerwright.steering.apply import steer
from steerwright.steering.operators import Add
from steerwright.vectors.direction import Direction

Draw = Callable[..., Tensor]
LAYER = Hookpoint("text_encoder.encoder.layers.3.mlp")
ATTENTION = Hookpoint("unet.mid_block.attentions.0.transformer_blocks.0.attn2")
PROMPTS = ["a cat", "a longer one", "dog"]


def axis(width: int = 16, at: int = 0, norm: float = 1.0) -> Direction:
    return Direction(torch.eye(width)[at], torch.tensor(norm))


def edit(strength: float | Tensor, hookpoint: Hookpoint = LAYER, **where: Any) -> Edit:
    width = 32 if hookpoint.path.startswith("unet") else 16
    return Edit(hookpoint, Add(axis(width), "unit"), strength, **where)


def hooks(pipeline: Any) -> int:
    parts = (pipeline.text_encoder, pipeline.unet, pipeline.vae)
    modules = [module for part in parts for module in part.modules()]
    wrapped = sum(name in vars(pipeline) for name in ("encode_prompt", "maybe_free_model_hooks"))
    return wrapped + sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)


def encoded(pipeline: Any, edits: list[Edit], prompts: list[str], guided: bool = True) -> tuple[Tensor, Tensor | None]:
    """What the text encoder gives for the prompts and for the negative prompts."""
    with steer(pipeline, edits):
        return pipeline.encode_prompt(prompts, "cpu", 1, guided)


def mlp_outputs(pipeline: Any, edits: list[Edit], prompts: list[str]) -> Tensor:
    seen: list[Tensor] = []
    with steer(pipeline, edits):
        watch = pipeline.text_encoder.encoder.layers[3].mlp.register_forward_hook(
            lambda module, args, output: seen.append(output)
        )
        try:
            pipeline.encode_prompt(prompts, "cpu", 1, False)
        finally:
            watch.remove()
    return seen[0]


def test_a_zero_strength_installs_nothing_and_gives_the_same_bits(pipeline: Any, draw: Draw) -> None:
    plain = draw(PROMPTS)
    zeros = [edit(0.0), edit(torch.zeros(3), branch="both"), edit(0.0, ATTENTION)]
    before = hooks(pipeline)
    with steer(pipeline, zeros):
        assert hooks(pipeline) == before
        steered = draw(PROMPTS)
    assert torch.equal(plain, steered)
    with steer(pipeline, [edit(3.0)]):
        assert not torch.equal(plain, draw(PROMPTS))


def test_hooks_are_gone_after_an_exception_and_images_are_as_before(pipeline: Any, draw: Draw) -> None:
    plain, before = draw(PROMPTS), hooks(pipeline)
    with pytest.raises(RuntimeError, match="in the middle"), steer(pipeline, [edit(3.0), edit(1.0, ATTENTION)]):
        assert hooks(pipeline) > before
        raise RuntimeError("in the middle")
    assert hooks(pipeline) == before == 0
    assert torch.equal(plain, draw(PROMPTS))


def test_hooks_are_gone_when_an_edit_fails_inside_the_model(pipeline: Any, draw: Draw) -> None:
    plain = draw(PROMPTS)
    with (
        pytest.raises(UserError, match="strengths for 2 images, but the batch has 3"),
        steer(pipeline, [edit(torch.tensor([1.0, 2.0]))]),
    ):
        draw(PROMPTS)
    assert hooks(pipeline) == 0
    assert torch.equal(plain, draw(PROMPTS))


def test_cond_leaves_the_uncond_call_bit_identical_and_uncond_the_cond_call(pipeline: Any) -> None:
    cond, uncond = encoded(pipeline, [], PROMPTS)
    for branch, cond_same, uncond_same in [("cond", True, False), ("uncond", False, True)]:
        got_cond, got_uncond = encoded(pipeline, [edit(2.0, branch=branch)], PROMPTS)
        assert torch.equal(got_cond, cond) != cond_same
        assert torch.equal(got_uncond, uncond) != uncond_same


def test_both_and_opposed_move_the_two_branches_alike_and_against_each_other(pipeline: Any) -> None:
    seen: list[Tensor] = []
    module = pipeline.text_encoder.encoder.layers[3].mlp

    def calls(edits: list[Edit]) -> list[Tensor]:
        seen.clear()
        with steer(pipeline, edits):
            watch = module.register_forward_hook(lambda module, args, output: seen.append(output))
            pipeline.encode_prompt(["a cat"], "cpu", 1, True)
            watch.remove()
        return list(seen)

    plain = calls([])
    for branch, signs in [("both", (1, 1)), ("opposed", (1, -1))]:
        for before, after, sign in zip(plain, calls([edit(2.0, branch=branch)]), signs, strict=True):
            assert torch.equal(after, before + sign * 2.0 * torch.eye(16)[0])


def test_without_guidance_the_only_branch_is_the_prompts(pipeline: Any, draw: Draw) -> None:
    for guidance in (0.0, 1.0):
        plain = draw(["a cat"], guidance)
        for branch, same in [("cond", False), ("opposed", False), ("uncond", True)]:
            with steer(pipeline, [edit(3.0, branch=branch)]):
                assert torch.equal(draw(["a cat"], guidance), plain) is same


def test_the_branch_is_right_again_after_a_call_that_failed_halfway(pipeline: Any, draw: Draw) -> None:
    with steer(pipeline, [edit(3.0)]):
        wanted = draw(["a cat"])
        with pytest.raises(UserError), steer(pipeline, [edit(torch.ones(5))]):
            draw(["a cat"])
        assert torch.equal(draw(["a cat"]), wanted)


def test_in_the_unet_cond_is_the_second_half_of_the_batch(pipeline: Any, draw: Draw) -> None:
    seen: list[Tensor] = []
    module = pipeline.unet.mid_block.attentions[0].transformer_blocks[0].attn2

    def first(edits: list[Edit]) -> Tensor:
        seen.clear()
        with steer(pipeline, edits):
            watch = module.register_forward_hook(lambda module, args, output: seen.append(output))
            draw(["a cat", "dog"])
            watch.remove()
        return seen[0]

    plain, steered = first([]), first([edit(torch.tensor([1.0, 2.0]), ATTENTION)])
    assert torch.equal(steered[:2], plain[:2])
    assert torch.equal(steered[2:], plain[2:] + torch.tensor([1.0, 2.0]).view(2, 1, 1) * torch.eye(32)[0])


def test_a_step_window_edits_its_steps_only(pipeline: Any, draw: Draw) -> None:
    seen: list[Tensor] = []
    module = pipeline.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    for steps, first_is_edited in [((0, 0), True), ((1, 1), False)]:
        seen.clear()
        with steer(pipeline, [edit(100.0, ATTENTION, branch="both", steps=steps)]):
            watch = module.register_forward_hook(lambda module, args, output: seen.append(output))
            draw(["a cat"])
            watch.remove()
        edited = [bool((output[..., 0] > 50).all()) for output in seen]
        assert edited == [first_is_edited, not first_is_edited]


def test_token_types_come_from_the_ids_of_the_running_call(pipeline: Any) -> None:
    # "a cat": BOS a</w> c a t</w> EOS and padding, of 16 tokens; "dog" has 3 letters.
    plain = mlp_outputs(pipeline, [], ["a cat", "dog"])
    expected = {"bos": [[0], [0]], "content": [[1, 2, 3, 4], [1, 2, 3]], "eos": [[5], [4]]}
    expected["padding"] = [list(range(6, 16)), list(range(5, 16))]
    for tokens, places in expected.items():
        steered = mlp_outputs(pipeline, [edit(1.0, tokens=tokens)], ["a cat", "dog"])
        changed = (steered != plain).any(-1)
        assert [row.nonzero().flatten().tolist() for row in changed] == places


def test_a_mask_of_tokens_edits_these_only(pipeline: Any) -> None:
    mask = torch.zeros(16, dtype=torch.bool)
    mask[2] = True
    changed = mlp_outputs(pipeline, [edit(1.0, tokens=mask)], ["a cat"]) != mlp_outputs(pipeline, [], ["a cat"])
    assert changed.any(-1)[0].nonzero().flatten().tolist() == [2]


def test_each_image_gets_its_own_strength_and_a_zero_among_them_keeps_its_bits(pipeline: Any) -> None:
    plain = mlp_outputs(pipeline, [], PROMPTS)
    steered = mlp_outputs(pipeline, [edit(torch.tensor([1.0, 0.0, -2.0]))], PROMPTS)
    for row, strength in enumerate([1.0, 0.0, -2.0]):
        assert torch.equal(steered[row], plain[row] + strength * torch.eye(16)[0])
    assert for_images([edit(torch.tensor([1.0, 0.0, -2.0]))], 1, 3)[0].strength.tolist() == [0.0, -2.0]


def test_edits_of_one_hookpoint_compose_in_the_order_given(pipeline: Any) -> None:
    plain = mlp_outputs(pipeline, [], ["a cat"])
    autumn = Edit(LAYER, Add(axis(at=0), "unit"), 2.0)
    night = Edit(LAYER, Add(axis(at=1), "relative"), 0.5)
    moved = plain + 2 * torch.eye(16)[0]
    wanted = moved + 0.5 * moved.norm(dim=-1, keepdim=True) * torch.eye(16)[1]
    assert torch.allclose(mlp_outputs(pipeline, [autumn, night], ["a cat"]), wanted, atol=1e-6)
    other = plain + 0.5 * plain.norm(dim=-1, keepdim=True) * torch.eye(16)[1] + 2 * torch.eye(16)[0]
    assert torch.allclose(mlp_outputs(pipeline, [night, autumn], ["a cat"]), other, atol=1e-6)
    assert not torch.allclose(wanted, other, atol=1e-3)


def test_input_and_update_of_a_module_can_be_edited(pipeline: Any) -> None:
    module = pipeline.text_encoder.encoder.layers[3].mlp
    acts = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(1))
    plain = module(acts)
    with steer(pipeline, [edit(2.0, Hookpoint(LAYER.path, "in"))]):
        assert torch.equal(module(acts), module.fc2(module.activation_fn(module.fc1(acts + 2 * torch.eye(16)[0]))))
    with steer(pipeline, [Edit(Hookpoint(LAYER.path, "update"), Add(axis(), "relative"), 1.0)]):
        length = (plain - acts).norm(dim=-1, keepdim=True)
        assert torch.allclose(module(acts), plain + length * torch.eye(16)[0], atol=1e-6)


def test_an_edit_does_not_write_into_the_tensors_it_sees(pipeline: Any) -> None:
    module = pipeline.text_encoder.encoder.layers[3].mlp
    kept: list[Tensor] = []
    watch = module.register_forward_hook(lambda module, args, output: kept.append(output))
    acts = torch.ones(1, 4, 16)
    try:
        with steer(pipeline, [edit(2.0), edit(1.0, Hookpoint(LAYER.path, "in"))]):
            out = module(acts)
    finally:
        watch.remove()
    assert torch.equal(acts, torch.ones(1, 4, 16))
    assert torch.equal(out, kept[0] + 2 * torch.eye(16)[0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: edit(0.0, Hookpoint("text_encoder.encoder.layers.33.mlp")), "no module"),
        (lambda: edit(1.0, ATTENTION, tokens="content"), "only the text encoder has"),
        (lambda: edit(1.0, tokens="nouns"), "'nouns' of the edit at .* do not exist"),
        (lambda: edit(1.0, steps=(0, 1)), "only the UNet runs once per step"),
        (lambda: edit(1.0, branch="conditional"), "Branch 'conditional' does not exist"),
        (lambda: edit(float("nan")), "finite"),
    ],
)
def test_an_edit_that_does_not_fit_the_model_is_refused_before_anything_runs(
    pipeline: Any, bad: Callable[[], Edit], message: str
) -> None:
    with pytest.raises(UserError, match=message), steer(pipeline, [bad()]):
        raise AssertionError("the block must not be entered")


def test_a_direction_of_another_width_names_the_hookpoint(pipeline: Any, draw: Draw) -> None:
    wrong = Edit(LAYER, Add(axis(8), "unit"), 1.0)
    with (
        pytest.raises(UserError, match=r"layers.3.mlp:out is made for tensors ending in \[8\]"),
        steer(pipeline, [wrong]),
    ):
        draw(["a cat"])
