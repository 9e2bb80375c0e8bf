"""Real block structures, loaded from disk: blocks, steps, branches, edits of all blocks, and sums over pairs.

Tests that only exercise what every shape shares run on SD 1.x (PNDM, one text encoder) and SDXL (two, 70 blocks).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from steerwright.activations.attention import attention_moments
from steerwright.activations.record import Capture, capture
from steerwright.errors import UserError
from steerwright.models.attention_blocks import AttentionBlock, attention_blocks, chosen_blocks
from steerwright.models.families.sd import StableDiffusion
from steerwright.models.generate import Batch, batches, generate, run_pipeline
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.running import track
from steerwright.models.schedule import timesteps
from steerwright.prompts.suite import ContrastPair
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import check_branches, steer, steered_batches
from steerwright.steering.attention import AttentionRecipe, attention_edits
from steerwright.steering.operators import Add
from steerwright.vectors.direction import Direction, normalised
from steerwright.vectors.fit import vectors_from_moments
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

Load = Callable[[str], Any]
SHAPES = ("sd-1.5", "sd-2.1-v", "sdxl", "sd-turbo", "sdxl-turbo")
PROMPTS = ("a red house", "b", "the sea at night in winter")
SEEDS: tuple[int, ...] = (3, 1, 4)
SIZE: Any = {"height": 72, "width": 104}  # not square, and nine latent rows, which do not halve evenly

# Widths of a real UNet's blocks over twenty, in the order in which they run (issue 3; SDXL from its configuration: one,
# two and ten layers a transformer, two transformers a level on the way down and three on the way up).
SD = {"down": [16, 16, 32, 32, 64, 64], "mid": [64], "up": [64] * 3 + [32] * 3 + [16] * 3}
XL = {"down": [32] * 4 + [64] * 20, "mid": [64] * 10, "up": [64] * 30 + [32] * 6}


def is_xl(shape: str) -> bool:
    return shape.startswith("sdxl")


def random_vectors(model: Any, steps: int, seed: int = 0) -> SteeringVectors:
    """A random unit vector for every block, of the norm that makes a token's random component a common one."""
    generator = torch.Generator().manual_seed(seed)
    schedule = timesteps(model.pipeline, steps)
    directions = {}
    for block in attention_blocks(model.pipeline):
        vector = torch.randn(block.width, generator=generator)
        slot = VectorKey(block.hookpoint, steps=(0, len(schedule) - 1), branch="cond")
        directions[slot] = Direction(vector / vector.norm(), torch.tensor(1.0), torch.tensor(0.0))
    return SteeringVectors("noise", model.fingerprint, "mean_difference", "mean", directions, schedule)


def edits_of(
    model: Any, action: Literal["none", "add", "erase"], steps: int | None = None, branch: Any = "both"
) -> list[Edit]:
    if action == "none":
        return []
    steps = steps or model.spec.steps
    return attention_edits(
        action,
        random_vectors(model, steps),
        {"add": 10.0, "erase": 2.0}[action],
        blocks=attention_blocks(model.pipeline),
        timesteps=timesteps(model.pipeline, steps),
        recipe=AttentionRecipe(branch=branch),
    )


def latents(model: Any, edits: list[Edit], **options: Any) -> Tensor:
    (batch,) = batches(PROMPTS, SEEDS, 8)
    return run_pipeline(model, batch, "latent", edits=steered_batches(model, edits), **options)


def captured(model: Any, edits: list[Edit], hookpoints: list[Hookpoint], **options: Any) -> list[Capture]:
    """What the layers give, after the edits, in the order in which they ran."""
    seen: list[Capture] = []

    @contextmanager
    def hooks(batch: Batch) -> Iterator[None]:
        with steer(model, edits), capture(model.pipeline, hookpoints, seen.append):
            yield

    (batch,) = batches(PROMPTS, SEEDS, 8)
    run_pipeline(model, batch, "latent", edits=hooks, **options)
    return seen


def apart(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The largest difference of each pair of images, in grey levels."""
    return np.abs(some.astype(int) - others).max(axis=(1, 2, 3))


def unet_inputs(model: Any, **options: Any) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    watch = model.pipeline.unet.register_forward_pre_hook(lambda _, __, kwargs: seen.append(kwargs), with_kwargs=True)
    try:
        generate(model, PROMPTS, SEEDS, **options)
    finally:
        watch.remove()
    return seen


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_loads_as_the_class_that_it_was_saved_as(shaped: Load, shape: str) -> None:
    model = shaped(shape)
    expected = "StableDiffusionXLPipeline" if is_xl(shape) else "StableDiffusionPipeline"
    assert type(model.pipeline).__name__ == expected
    assert model.dtype == torch.float32
    networks = [part for part in model.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert len(networks) == (4 if is_xl(shape) else 3)
    assert not any(part.training or any(p.requires_grad for p in part.parameters()) for part in networks)
    # A watermark would change pictures, and only where the package that draws it is installed.
    assert getattr(model.pipeline, "watermark", None) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_are_counted_by_place_in_the_order_in_which_they_run(shaped: Load, shape: str) -> None:
    model, expected = shaped(shape), XL if is_xl(shape) else SD
    blocks = attention_blocks(model.pipeline)
    assert {place: [b.width for b in blocks if b.place == place] for place in expected} == expected
    assert [b.name for b in blocks] == [
        f"{place}.{i}" for place, widths in expected.items() for i in range(len(widths))
    ]
    assert [c.hookpoint for c in captured(model, [], [b.hookpoint for b in reversed(blocks)], steps=1, guidance=0.0)][
        : len(blocks)
    ] == [b.hookpoint for b in blocks]


def test_places_can_be_chosen_and_self_attention_too(shaped: Load) -> None:
    blocks = attention_blocks(shaped("sdxl").pipeline, ("self", "cross"))
    assert len(blocks) == 140
    assert [b.attention for b in blocks[:4]] == ["self", "cross"] * 2
    assert [b.name for b in chosen_blocks(blocks, ["up.35", "down.0"])] == ["down.0", "down.0", "up.35", "up.35"]
    with pytest.raises(UserError, match=r"no block 'up\.36'; .* up\.0 to up\.35"):
        chosen_blocks(blocks, ["up.36"])


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_are_the_schedules_and_halves_are_guidances(shaped: Load, shape: str) -> None:
    model = shaped(shape)
    mid = next(b.hookpoint for b in attention_blocks(model.pipeline) if b.place == "mid")
    for guidance, halves in ((0.0, ["none"]), (1.0, ["none"]), (7.5, ["uncond", "cond"])):
        seen = captured(model, [], [mid], steps=3, guidance=guidance)
        # PNDM visits its second timestep twice; the others visit each once.
        assert [c.step.index for c in seen if c.step] == list(range(4 if shape == "sd-1.5" else 3))
        assert [c.step.timestep for c in seen if c.step] == list(timesteps(model.pipeline, 3))
        assert all([name for name, _ in c.branches] == halves for c in seen)
        assert all(len(c.tensor[rows]) == len(PROMPTS) for c in seen for _, rows in c.branches)


def test_a_turbo_models_single_step_is_the_noisiest(shaped: Load) -> None:
    # "trailing": one step starts at the last of the thousand training steps. "leading" would start at 1.
    for shape in ("sd-turbo", "sdxl-turbo"):
        assert timesteps(shaped(shape).pipeline, 1) == (999.0,)
    assert timesteps(shaped("sdxl").pipeline, 1) == (1.0,)


def test_of_two_text_encoders_each_is_called_for_the_prompts_and_then_for_the_negative_ones(shaped: Load) -> None:
    pipeline = shaped("sdxl").pipeline
    for negative, expected in (("bad", ["cond", "uncond"]), ("", ["cond"])):
        seen: dict[str, list[Any]] = {"text_encoder": [], "text_encoder_2": []}
        with track(pipeline) as running:

            def note(name: str, seen: Any = seen, running: Any = running) -> Callable[..., None]:
                return lambda *_: seen[name].append((running.text_branch, running.token_ids))

            watches = [getattr(pipeline, name).register_forward_hook(note(name)) for name in seen]
            generate(shaped("sdxl"), PROMPTS, SEEDS, negative_prompt=negative, steps=1)
            for watch in watches:
                watch.remove()
        for name, calls in seen.items():
            assert [branch for branch, _ in calls] == expected
            tokenizer = getattr(pipeline, name.replace("text_encoder", "tokenizer"))
            ids = tokenizer(list(PROMPTS), padding="max_length", return_tensors="pt").input_ids
            assert torch.equal(calls[0][1], ids)


def test_without_a_negative_prompt_the_unconditional_half_of_sdxl_is_zeros(shaped: Load) -> None:
    without, given = (unet_inputs(shaped("sdxl"), negative_prompt=text, steps=1)[0] for text in ("", "bad"))
    for call, zeros in ((without, True), (given, False)):
        for half in (call["encoder_hidden_states"][:3], call["added_cond_kwargs"]["text_embeds"][:3]):
            assert half.any().item() is not zeros
        assert call["encoder_hidden_states"][3:].any(dim=-1).all()


def test_sdxl_is_told_the_size_that_is_made(shaped: Load) -> None:
    (call,) = unet_inputs(shaped("sdxl"), steps=1, **SIZE)
    # Original size, crop, target size; for both halves of three prompts.
    assert call["added_cond_kwargs"]["time_ids"].tolist() == [[72, 104, 0, 0, 72, 104]] * 6


@pytest.mark.parametrize("guidance", [0.0, 1.0, 7.5])
@pytest.mark.parametrize("action", ["none", "add", "erase"])
@pytest.mark.parametrize("shape", ["sd-1.5", "sdxl"])
def test_an_image_of_a_batch_is_the_one_made_alone(shaped: Load, shape: str, action: Any, guidance: float) -> None:
    model = shaped(shape)
    options: Any = {"guidance": guidance, "steps": 2, **SIZE}
    edits = edits_of(model, action, steps=2)
    together = generate(model, PROMPTS, SEEDS, edits=steered_batches(model, edits), **options)
    alone = [
        generate(model, [prompt], [seed], edits=steered_batches(model, edits), **options)
        for prompt, seed in zip(PROMPTS, SEEDS, strict=True)
    ]
    assert together.shape == (3, 72, 104, 3)
    assert (apart(together, np.concatenate(alone)) <= 1).all()
    # The edit is there to be seen, and the images are not one and the same.
    assert (apart(together, np.roll(together, 1, axis=0)) > 10).all()
    if action != "none":
        plain = generate(model, PROMPTS, SEEDS, **options)
        # Two at least: erasing may find next to nothing of a random direction in the third.
        assert (apart(together, plain) > 2).sum() >= 2


@pytest.mark.parametrize("action", ["none", "add", "erase"])
@pytest.mark.parametrize("shape", ["sd-2.1-v", "sd-turbo", "sdxl-turbo"])
def test_so_it_is_with_each_models_own_settings(shaped: Load, shape: str, action: Any) -> None:
    model = shaped(shape)
    made = steered_batches(model, edits_of(model, action))
    together = generate(model, PROMPTS, SEEDS, edits=made)
    alone = [generate(model, [p], [s], edits=made) for p, s in zip(PROMPTS, SEEDS, strict=True)]
    assert (apart(together, np.concatenate(alone)) <= 1).all()
    if action != "none":
        assert (apart(together, generate(model, PROMPTS, SEEDS)) > 2).sum() >= 2


@pytest.mark.parametrize("shape", ["sd-1.5", "sdxl"])
def test_the_same_call_gives_the_same_bits_and_zero_strength_those_of_no_edit(shaped: Load, shape: str) -> None:
    model = shaped(shape)
    plain = latents(model, [])
    edits = edits_of(model, "add")
    assert torch.equal(latents(model, edits), latents(model, edits))
    assert not torch.equal(latents(model, edits), plain)
    idle = [Edit(edit.hookpoint, edit.operator, 0.0, branch="both", steps=edit.steps) for edit in edits]
    assert torch.equal(latents(model, idle), plain)


@pytest.mark.parametrize("shape", ["sd-1.5", "sdxl"])
def test_an_edit_of_the_prompts_half_leaves_the_other_half_bit_identical(shaped: Load, shape: str) -> None:
    model = shaped(shape)
    where = [block.hookpoint for block in attention_blocks(model.pipeline)]
    plain = captured(model, [], where, steps=1)[: len(where)]
    for branch, same, other in (("cond", slice(0, 3), slice(3, 6)), ("uncond", slice(3, 6), slice(0, 3))):
        steered = captured(model, edits_of(model, "add", steps=1, branch=branch), where, steps=1)[: len(where)]
        # Halves meet only after the UNet, so in the first step no block of the other half may change, edited or not.
        assert all(torch.equal(a.tensor[same], b.tensor[same]) for a, b in zip(plain, steered, strict=True))
        assert all((a.tensor[other] != b.tensor[other]).any() for a, b in zip(plain, steered, strict=True))


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_without_guidance_cond_both_and_opposed_are_one_and_uncond_is_none(shaped: Load, guidance: float) -> None:
    model = shaped("sdxl-turbo")
    plain = latents(model, [], guidance=guidance)
    results = {
        branch: latents(model, edits_of(model, "add", branch=branch), guidance=guidance)
        for branch in ("cond", "both", "opposed", "uncond")
    }
    assert not torch.equal(results["both"], plain)
    assert torch.equal(results["both"], results["cond"])
    assert torch.equal(results["both"], results["opposed"])
    assert torch.equal(results["uncond"], plain)


def test_each_image_of_a_batch_has_its_own_strength(shaped: Load) -> None:
    model = shaped("sdxl")
    vectors, schedule = random_vectors(model, 2), timesteps(model.pipeline, 2)

    def images(strength: Any, rows: slice, size: int) -> np.ndarray:
        blocks = attention_blocks(model.pipeline)
        edits = attention_edits("add", vectors, strength, blocks=blocks, timesteps=schedule)
        made = steered_batches(model, edits)
        return generate(model, PROMPTS[rows], SEEDS[rows], steps=2, edits=made, batch_size=size)

    mixed = images(torch.tensor([0.0, 5.0, 10.0]), slice(0, 3), 2)
    for row, strength in enumerate((0.0, 5.0, 10.0)):
        assert apart(mixed[row : row + 1], images(strength, slice(row, row + 1), 1)) <= 1
    assert (apart(mixed, generate(model, PROMPTS, SEEDS, steps=2)) > 2).tolist() == [False, True, True]


@pytest.mark.parametrize("encoder", ["text_encoder", "text_encoder_2"])
def test_both_text_encoders_of_sdxl_can_be_edited_by_token_type(shaped: Load, encoder: str) -> None:
    model = shaped("sdxl")
    width = 16 if encoder == "text_encoder" else 24
    edit = Edit(
        Hookpoint(f"{encoder}.encoder.layers.1.mlp"),
        Add(Direction(torch.eye(width)[0], torch.tensor(1.0)), "unit"),
        30.0,
        tokens="content",
    )
    assert not torch.equal(latents(model, [edit], steps=1), latents(model, [], steps=1))
    (seen,) = captured(model, [edit], [edit.hookpoint], steps=1)
    # Letters are tokens: BOS, nine of "a red house", EOS.
    changed = seen.tensor[0, :, 0] > 15
    assert changed.nonzero().flatten().tolist() == list(range(1, 10))


PAIRS = [ContrastPair(i, f"a {word} in winter", f"a {word}") for i, word in enumerate(("house", "cat"))]


def mean_rows(model: Any, prompt: str, seed: int, block: AttentionBlock, guidance: float) -> Tensor:
    """Mean token of one image at every step, by a hook of the test's own: float64 [steps, halves, d]."""
    seen: list[Tensor] = []
    module = model.pipeline.unet.get_submodule(block.hookpoint.path.removeprefix("unet."))
    watch = module.register_forward_hook(lambda _, __, out: seen.append(out.double().mean(1)))
    try:
        run_pipeline(model, Batch(0, 1, (prompt,), (seed,)), "latent", guidance=guidance)
    finally:
        watch.remove()
    return torch.stack(seen)


@pytest.mark.parametrize(("shape", "guidance"), [("sd-1.5", 7.5), ("sdxl", 7.5), ("sdxl-turbo", 0.0)])
def test_sums_over_pairs_are_those_of_images_made_one_by_one(shaped: Load, shape: str, guidance: float) -> None:
    model, seeds = shaped(shape), (5, 6)
    blocks = attention_blocks(model.pipeline)
    branches: Any = ("cond", "uncond") if guidance > 1 else ("cond",)
    moments = attention_moments(
        model, PAIRS, blocks, seeds=seeds, branches=branches, guidance=guidance, shuffles=3, batch_pairs=3
    )
    assert len(moments) == len(blocks) * len(branches)
    steps = len(timesteps(model.pipeline, model.spec.steps))
    assert all(sums.count.tolist() == [4] * steps for sums in moments.values())
    # diffusers puts the unconditional half first; without guidance there is one half.
    sides: Any = (("uncond", 0), ("cond", -1))
    block = blocks[-1]  # its tokens have been through all the others
    for side in ("positive", "negative"):
        wanted = sum(mean_rows(model, getattr(pair, side), seed, block, guidance) for pair in PAIRS for seed in seeds)
        assert isinstance(wanted, Tensor)
        for branch, half in sides:
            if branch in branches:
                torch.testing.assert_close(getattr(moments[block, branch], side), wanted[:, half], rtol=1e-4, atol=1e-5)
    vectors = vectors_from_moments(
        {(block.hookpoint, branch): sums for (block, branch), sums in moments.items()},
        concept="winter",
        model=model.fingerprint,
        timesteps=timesteps(model.pipeline, model.spec.steps),
        bins=1,
    )
    edits = attention_edits("add", vectors, 5.0, blocks=blocks, timesteps=vectors.timesteps or ())
    assert not torch.equal(latents(model, edits, guidance=guidance), latents(model, [], guidance=guidance))


def test_sdxl_in_half_precision_decodes_in_float32_or_says_that_it_overflowed(
    shape_folder: Callable[[str], Any], tmp_path: Any
) -> None:
    from steerwright.models.load import load_model
    from steerwright.models.spec import ModelSpec

    spec = ModelSpec(name="xl", source=str(shape_folder("sdxl")), steps=2, guidance=5.0)
    model = load_model(spec, device=torch.device("cpu"))
    # Activations beyond 65504, float16's largest, from weights that are not; a norm takes the factor out again.
    for parameter in model.pipeline.vae.decoder.conv_in.parameters():
        parameter.mul_(1e5)
    wanted = generate(model, PROMPTS, SEEDS).astype(int)
    model.pipeline.to(torch.float16)
    assert model.dtype == torch.float16
    assert np.abs(generate(model, PROMPTS, SEEDS) - wanted).mean() < 1
    assert wanted.std() > 10
    # Back in half precision for the next batch, and the next batch is well too.
    assert model.pipeline.vae.dtype == torch.float16
    assert np.abs(generate(model, PROMPTS, SEEDS, batch_size=2) - wanted).mean() < 1
    model.pipeline.vae.register_to_config(force_upcast=False)
    with pytest.raises(UserError, match=r"not finite: .* half precision overflowed"):
        generate(model, PROMPTS, SEEDS)


def test_without_a_negative_prompt_no_text_encoder_makes_the_unconditional_half_of_sdxl(shaped: Load) -> None:
    model = shaped("sdxl")
    layer = next(name for name, _ in model.pipeline.text_encoder.named_modules() if name.endswith("layers.1.mlp"))
    width = model.pipeline.text_encoder.config.hidden_size
    at = Hookpoint(f"text_encoder.{layer}")
    edits = [Edit(at, Add(normalised(torch.ones(width).cumsum(0)), "raw"), 5.0, branch="uncond")]
    with pytest.raises(UserError, match="has zeros for its unconditional branch"):
        check_branches(model, edits)
    check_branches(model, edits, negatives=["a house"])
    # And so a picture with none among others that have one is still the plain one.
    common: dict[str, Any] = {"steps": 2, **SIZE}
    plain, other = generate(model, PROMPTS[:2], SEEDS[:2], negative_prompt=["", "a house"], **common)
    assert np.abs(plain.astype(int) - generate(model, PROMPTS[:1], SEEDS[:1], **common)[0]).max() <= 1
    alone = generate(model, PROMPTS[1:2], SEEDS[1:2], negative_prompt="a house", **common)[0]
    assert np.abs(other.astype(int) - alone).max() <= 1


def test_a_unet_that_is_told_its_guidance_has_no_unconditional_half() -> None:
    unet = SimpleNamespace(config=SimpleNamespace(time_cond_proj_dim=256))
    assert not StableDiffusion().has_branches(SimpleNamespace(unet=unet))
    assert StableDiffusion().has_branches(
        SimpleNamespace(unet=SimpleNamespace(config=SimpleNamespace(time_cond_proj_dim=None)))
    )
