"""Which branch and which step is running, against what the pipeline is known to do."""

from typing import Any

import pytest
import torch

from steerwright.models.running import carries_prompt, track


class Stop(Exception):
    pass


def observe(model: Any, **call: Any) -> tuple[list[Any], list[Any]]:
    """What `track` says inside a text-encoder layer and inside a UNet block, forward by forward."""
    pipeline = model.pipeline
    text: list[Any] = []
    unet: list[Any] = []
    with track(pipeline) as running:
        inner = pipeline.text_encoder.encoder.layers[5].register_forward_hook(
            lambda *_: text.append((running.text_branch, running.token_ids.clone()))
        )
        block = pipeline.unet.mid_block.register_forward_hook(
            lambda _, __, out: unet.append((running.split(len(out)), running.step))
        )
        try:
            with torch.inference_mode():
                pipeline(height=64, width=64, output_type="np", **call)
        finally:
            inner.remove()
            block.remove()
    return text, unet


def test_the_prompt_is_encoded_as_cond_and_then_the_negative_prompt_as_uncond(sd21: Any) -> None:
    text, _ = observe(sd21, prompt=["red", "blue"], negative_prompt=["bad", "bad"], num_inference_steps=1)
    assert [branch for branch, _ in text] == ["cond", "uncond"]
    for (_, ids), words in zip(text, (["red", "blue"], ["bad", "bad"]), strict=True):
        expected = sd21.pipeline.tokenizer(words, padding="max_length", return_tensors="pt").input_ids
        assert torch.equal(ids, expected)


def test_the_unets_batch_is_uncond_first(sd21: Any) -> None:
    _, unet = observe(sd21, prompt=["red", "blue", "grey"], num_inference_steps=1)
    assert all(split == (("uncond", slice(0, 3)), ("cond", slice(3, 6))) for split, _ in unet)
    # Independent of diffusers' source: with an uncond half that equals cond, guidance cannot matter; here it is enough
    # that the halves of the cross-attention's text input are the embeddings of the negative and of the positive prompt.
    seen: list[torch.Tensor] = []
    handle = sd21.pipeline.unet.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["encoder_hidden_states"]), with_kwargs=True
    )
    with torch.inference_mode():
        sd21.pipeline(prompt="red", negative_prompt="bad", num_inference_steps=1, output_type="latent")
        ids = sd21.pipeline.tokenizer(["bad", "red"], padding="max_length", return_tensors="pt").input_ids
        expected = torch.cat([sd21.pipeline.text_encoder(row[None])[0] for row in ids])
    handle.remove()
    torch.testing.assert_close(seen[0], expected)


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_without_guidance_there_is_one_branch_that_carries_the_prompt(sd21: Any, guidance: float) -> None:
    text, unet = observe(sd21, prompt=["red"], guidance_scale=guidance, num_inference_steps=2)
    assert [branch for branch, _ in text] == ["none"]
    assert all(split == (("none", slice(0, 1)),) for split, _ in unet)
    assert carries_prompt("none")
    assert carries_prompt("cond")
    assert not carries_prompt("uncond")


def test_given_embeddings_leave_only_the_negative_prompt_to_encode(sd21: Any) -> None:
    embeddings = torch.zeros(1, 77, 32)
    text, _ = observe(sd21, prompt_embeds=embeddings, num_inference_steps=1)
    assert [branch for branch, _ in text] == ["uncond"]


def test_an_encoder_call_outside_the_pipeline_belongs_to_no_branch(sd21: Any) -> None:
    pipeline = sd21.pipeline
    with track(pipeline) as running, torch.inference_mode():
        pipeline("red", num_inference_steps=1, output_type="latent")
        pipeline.text_encoder(torch.zeros(2, 77, dtype=torch.int64))
        assert running.text_branch == "none"


def test_steps_come_from_the_scheduler(sd21: Any) -> None:
    _, unet = observe(sd21, prompt=["red"], num_inference_steps=3)
    timesteps = [float(t) for t in sd21.pipeline.scheduler.timesteps]
    assert [step.timestep for _, step in unet] == timesteps
    # PNDM runs its second timestep twice: two places of the schedule, told apart by the scheduler's own counter.
    assert timesteps[1] == timesteps[2]
    assert [step.index for _, step in unet] == [0, 1, 2, 3]
    alphas = sd21.pipeline.scheduler.alphas_cumprod
    for _, step in unet:
        alpha = alphas[int(step.timestep)].item()
        # sigma^2 is the ratio of noise to signal power
        assert step.sigma**2 == pytest.approx((1 - alpha) / alpha)


def test_steps_of_a_scheduler_with_sigmas_are_its_own(sd21: Any) -> None:
    from diffusers import HeunDiscreteScheduler

    usual = sd21.pipeline.scheduler
    sd21.pipeline.scheduler = HeunDiscreteScheduler.from_config(usual.config)
    try:
        _, unet = observe(sd21, prompt=["red"], num_inference_steps=3)
        sigmas = sd21.pipeline.scheduler.sigmas
    finally:
        sd21.pipeline.scheduler = usual
    # Heun evaluates the model twice per step, with repeated timesteps: the scheduler's own index tells them apart.
    assert [step.index for _, step in unet] == list(range(len(unet)))
    assert [step.sigma for _, step in unet] == pytest.approx([float(sigmas[i]) for i in range(len(unet))])


def test_an_exception_in_a_call_does_not_shift_the_next(sd21: Any) -> None:
    pipeline = sd21.pipeline

    def fail(*_: Any) -> None:
        raise Stop

    for module in (pipeline.text_encoder.encoder.layers[3], pipeline.unet.mid_block):
        with track(pipeline) as running:
            handle = module.register_forward_hook(fail)
            with pytest.raises(Stop), torch.inference_mode():
                pipeline("red", num_inference_steps=3, output_type="latent")
            handle.remove()
            seen: list[Any] = []
            handle = pipeline.text_encoder.register_forward_hook(lambda *_, s=seen, r=running: s.append(r.text_branch))
            other = pipeline.unet.register_forward_hook(lambda *_, s=seen, r=running: s.append(r.step.index))
            with torch.inference_mode():
                pipeline("red", num_inference_steps=1, output_type="latent")
            handle.remove()
            other.remove()
        assert seen == ["cond", "uncond", 0]


def test_nothing_stays_on_the_pipeline_after_an_exception(sd21: Any) -> None:
    pipeline = sd21.pipeline

    def held() -> list[Any]:
        # Compared before and after: transformers itself leaves hooks that collect hidden states.
        modules = [m for part in (pipeline.text_encoder, pipeline.unet) for m in part.modules()]
        return [set(vars(pipeline)), *((len(m._forward_hooks), len(m._forward_pre_hooks)) for m in modules)]

    before = held()
    with pytest.raises(Stop), track(pipeline), track(pipeline):
        assert held() != before
        raise Stop
    assert held() == before


def test_blocks_nest(sd21: Any) -> None:
    pipeline = sd21.pipeline
    with track(pipeline) as outer, track(pipeline) as inner:
        seen: list[Any] = []
        handle = pipeline.text_encoder.register_forward_hook(
            lambda *_: seen.append((outer.text_branch, inner.text_branch))
        )
        with torch.inference_mode():
            pipeline("red", num_inference_steps=1, output_type="latent")
        handle.remove()
    assert seen == [("cond", "cond"), ("uncond", "uncond")]


def test_an_odd_guided_batch_is_an_error(sd21: Any) -> None:
    with track(sd21.pipeline) as running, torch.inference_mode():
        handle = sd21.pipeline.unet.register_forward_hook(lambda *_: running.split(3))
        with pytest.raises(ValueError, match="3 rows"):
            sd21.pipeline("red", num_inference_steps=1, output_type="latent")
        handle.remove()
