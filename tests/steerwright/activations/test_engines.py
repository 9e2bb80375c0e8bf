"""Hooks, nnsight and the text encoder's own outputs: three routes to the same tensors."""

from typing import Any

import numpy as np
import pytest
import torch

from steerwright.activations.prompt_tokens import token_types
from steerwright.activations.record import capture, record
from steerwright.activations.text_encoder import text_activations, tokenize
from steerwright.activations.trace import as_nnsight, trace_images, trace_text, uninstrumented_after
from steerwright.errors import UserError
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint, text_encoder_mlps

PROMPTS = ["a red house in winter", "the sea", ""]
UNET = [
    Hookpoint.parse(text)
    for text in (
        "unet.up_blocks.1.attentions.0:out",  # given before mid_block, which runs earlier
        "unet.mid_block:in",
        "unet.mid_block:update",
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2:out",
        "text_encoder.encoder.layers.3.mlp:out",
    )
]


class Stop(Exception):
    pass


def instruments(pipeline: Any) -> list[tuple[str, int, int, bool]]:
    """What hooks and nnsight have put on each module (transformers itself leaves hooks that collect hidden states)."""
    return [
        (
            name,
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            bool({"forward", "__nnsight__"} & {*vars(module)}),
        )
        for component in (pipeline.text_encoder, pipeline.unet, pipeline.vae)
        for name, module in component.named_modules()
    ]


@pytest.mark.parametrize("engine", ["nnsight", "hooks"])
def test_layer_outputs_are_the_encoders_own_hidden_states(sd21: Any, engine: Any) -> None:
    layers = [Hookpoint(f"text_encoder.encoder.layers.{i}") for i in range(22)]
    found = text_activations(sd21, PROMPTS, layers, engine)
    with torch.inference_mode():
        hidden = sd21.pipeline.text_encoder(found.token_ids, output_hidden_states=True).hidden_states
    # hidden_states[0] are the embeddings, hidden_states[i + 1] what layer i gives.
    for i, layer in enumerate(layers):
        torch.testing.assert_close(found[layer], hidden[i + 1])


def test_both_engines_give_the_same_mlp_outputs_at_every_layer(sd21: Any) -> None:
    mlps = text_encoder_mlps(sd21.pipeline)
    traced, hooked = (text_activations(sd21, PROMPTS, mlps, engine) for engine in ("nnsight", "hooks"))
    assert traced.activations.keys() == hooked.activations.keys() == set(mlps)
    for mlp in mlps:
        assert traced[mlp].shape == (3, 77, 32)
        assert torch.equal(traced[mlp], hooked[mlp])


def test_both_engines_agree_on_input_and_update_in_any_order(sd21: Any) -> None:
    sides = [
        Hookpoint(f"text_encoder.encoder.layers.{i}.mlp", where) for i in (9, 2) for where in ("update", "out", "in")
    ]
    traced, hooked = (text_activations(sd21, PROMPTS, sides, engine) for engine in ("nnsight", "hooks"))
    for side in sides:
        assert torch.equal(traced[side], hooked[side])
    update, out, given = (traced[side] for side in sides[:3])
    assert torch.equal(update, out - given)


def test_both_engines_agree_at_every_step_of_generation(sd21: Any) -> None:
    def call() -> dict[str, Any]:
        seeds = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        return {"num_inference_steps": 2, "guidance_scale": 4.0, "generator": seeds, "output_type": "np"}

    traced, output = trace_images(sd21.pipeline, UNET, PROMPTS[:2], **call())
    with torch.inference_mode(), record(sd21.pipeline, UNET) as recording:
        image = sd21.pipeline(PROMPTS[:2], **call()).images
    assert np.array_equal(output.images, image)
    for hookpoint in UNET:
        assert len(traced[hookpoint]) == len(recording[hookpoint]) >= 2
        assert all(torch.equal(a, b) for a, b in zip(traced[hookpoint], recording[hookpoint], strict=True))


def test_recording_does_not_change_the_picture(sd21: Any) -> None:
    plain = generate(sd21, ["a"], [0])
    with record(sd21.pipeline, UNET):
        recorded = generate(sd21, ["a"], [0])
    assert np.array_equal(plain, recorded)


def test_captures_say_step_and_branch(sd21: Any) -> None:
    with record(sd21.pipeline, UNET) as recording:
        generate(sd21, ["a", "b"], [0, 1], steps=2)
    middle = recording.captures(UNET[1])
    timesteps = [float(t) for t in sd21.pipeline.scheduler.timesteps]
    assert [capture.step.timestep for capture in middle if capture.step] == timesteps
    assert all(capture.branches == (("uncond", slice(0, 2)), ("cond", slice(2, 4))) for capture in middle)
    text = recording.captures(UNET[4])
    assert [capture.branches[0][0] for capture in text] == ["cond", "uncond"]
    assert text[0].token_ids is not None
    assert torch.equal(text[0].token_ids, tokenize(sd21, ["a", "b"]))


def test_what_is_recorded_is_what_an_earlier_hook_made_of_it(sd21: Any) -> None:
    mlp = text_encoder_mlps(sd21.pipeline)[0]
    handle = sd21.pipeline.text_encoder.encoder.layers[0].mlp.register_forward_hook(lambda _, __, out: out + 1)
    try:
        edited = text_activations(sd21, PROMPTS, [mlp], "hooks")[mlp]
    finally:
        handle.remove()
    torch.testing.assert_close(edited, text_activations(sd21, PROMPTS, [mlp], "hooks")[mlp] + 1)


def test_hooks_are_gone_after_an_exception(sd21: Any) -> None:
    before, clean = generate(sd21, ["a"], [0]), instruments(sd21.pipeline)
    with pytest.raises(Stop), record(sd21.pipeline, UNET):
        raise Stop

    def fail(_: Any) -> None:
        raise Stop

    with pytest.raises(Stop), capture(sd21.pipeline, UNET, fail):
        generate(sd21, ["a"], [0])
    assert instruments(sd21.pipeline) == clean
    assert np.array_equal(generate(sd21, ["a"], [0]), before)


def test_nnsight_leaves_nothing_on_the_model_or_on_other_objects(sd21: Any) -> None:
    clean = instruments(sd21.pipeline)
    text_activations(sd21, PROMPTS, text_encoder_mlps(sd21.pipeline), "nnsight")
    assert instruments(sd21.pipeline) == clean
    # By default nnsight gives every object of the process a method `save`.
    assert not hasattr(object(), "save")
    with pytest.raises(Stop), uninstrumented_after(sd21.pipeline):
        as_nnsight(sd21.pipeline)
        raise Stop
    assert instruments(sd21.pipeline) == clean


def test_a_failed_trace_leaves_nothing_and_the_next_one_runs(sd21: Any) -> None:
    clean = instruments(sd21.pipeline)
    good = Hookpoint.parse("text_encoder.encoder.layers.0:update")
    bad = Hookpoint.parse("text_encoder.encoder.layers.0.mlp.fc1:update")  # 32 wide in, 64 out
    for engine in ("nnsight", "hooks"):
        with pytest.raises(UserError, match="there is no update"):
            text_activations(sd21, PROMPTS, [bad], engine)
    assert instruments(sd21.pipeline) == clean
    assert text_activations(sd21, PROMPTS, [good], "nnsight")[good].shape == (3, 77, 32)


@pytest.mark.parametrize("engine", ["nnsight", "hooks"])
def test_a_hookpoint_that_does_not_exist_offers_near_ones(sd21: Any, engine: Any) -> None:
    with pytest.raises(UserError, match="did you mean"):
        text_activations(sd21, PROMPTS, [Hookpoint.parse("text_encoder.encoder.layers.23.mlp")], engine)


def test_a_text_trace_refuses_modules_of_the_unet(sd21: Any) -> None:
    with pytest.raises(ValueError, match="outside text_encoder"):
        trace_text(sd21.pipeline, tokenize(sd21, ["a"]), [Hookpoint.parse("unet.mid_block")])


def test_activations_do_not_depend_on_the_batch_size(sd21: Any) -> None:
    mlp = text_encoder_mlps(sd21.pipeline)[7]
    one, all_ = (text_activations(sd21, PROMPTS, [mlp], "hooks", batch_size=size)[mlp] for size in (1, 8))
    torch.testing.assert_close(one, all_)


def test_token_types_by_hand() -> None:
    # start, red, house, end, then padding with the end token (SD 1.x) or another (SD 2.x); and an empty prompt
    ids = torch.tensor([[8, 3, 4, 9, 9, 9], [8, 3, 4, 9, 0, 0], [8, 9, 9, 9, 9, 9]])
    types = token_types(ids, eos_token_id=9)
    assert types["bos"].int().tolist() == [[1, 0, 0, 0, 0, 0]] * 3
    assert types["content"].int().tolist() == [[0, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    assert types["eos"].int().tolist() == [[0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]]
    assert types["padding"].int().tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1]]


def test_a_prompt_that_is_cut_ends_with_eos_and_is_reported(sd21: Any, caplog: pytest.LogCaptureFixture) -> None:
    ids = tokenize(sd21, ["word " * 100])
    types = token_types(ids, sd21.pipeline.tokenizer.eos_token_id)
    assert [int(types[name].sum()) for name in ("bos", "content", "eos", "padding")] == [1, 75, 1, 0]
    assert "exceed the model's 77" in caplog.text
