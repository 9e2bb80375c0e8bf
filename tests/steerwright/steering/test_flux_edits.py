"""Edits of FLUX while it runs: one stream at a time, in the steps and images that are meant, and nothing else."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from steerwright.activations.record import Capture, record
from steerwright.errors import UserError
from steerwright.models.families import execution_device
from steerwright.models.generate import batches, generate, run_pipeline
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import load_model
from steerwright.sae.activations import TopK
from steerwright.sae.sae import Sae
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import steer, steered_batches
from steerwright.steering.gates import InImage
from steerwright.steering.latents.operators import AddLatents, EditLatents, LatentPart
from steerwright.steering.operators import Add
from steerwright.vectors.direction import Direction

DOUBLE, SINGLE = "transformer.transformer_blocks", "transformer.single_transformer_blocks"
EVERYWHERE = [
    f"{DOUBLE}.0:in", f"{DOUBLE}.0:in:text", f"{DOUBLE}.1", f"{DOUBLE}.1:out:text", f"{DOUBLE}.1:update",
    f"{DOUBLE}.0.attn:out:text", f"{DOUBLE}.0.ff", f"{DOUBLE}.0.ff_context", f"{SINGLE}.0", f"{SINGLE}.0:update:text",
    f"{SINGLE}.0.attn", f"{SINGLE}.0.proj_out:out:text", f"{SINGLE}.0.attn:in:text",
]  # fmt: skip
PROMPTS, SEEDS = ["a red house", "sea", "the sea in winter"], [3, 1, 4]


def direction(width: int = 16, seed: int = 0, origin: float = 0.0) -> Direction:
    vector = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return Direction(vector / vector.norm(), torch.tensor(1.0), torch.tensor(origin))


def edit(text: str, strength: Any = 4.0, **settings: Any) -> Edit:
    return Edit(Hookpoint.parse(text), Add(direction(), "unit"), strength, **settings)


def captured(model: Any, edits: list[Edit], texts: list[str], **options: Any) -> list[list[Capture]]:
    """What is there after the edits, for each hookpoint step by step; pictures of 24 x 40 pixels."""
    points = [Hookpoint.parse(text) for text in texts]
    (batch,) = batches(PROMPTS, SEEDS, 8)
    with steer(model, edits), record(model.pipeline, points) as recording:
        run_pipeline(model, batch, "latent", height=24, width=40, **options)
    return [recording.captures(point) for point in points]


@pytest.mark.parametrize("text", EVERYWHERE)
def test_an_edit_moves_its_own_tokens_and_leaves_the_other_stream_its_bits(flux: Any, text: str) -> None:
    point = Hookpoint.parse(text)
    where = "out" if point.where == "update" else point.where
    texts = [f"{point.path}:{where}:{stream}" for stream in ("image", "text")] if point.stream else [text]
    before = captured(flux, [], texts, steps=1)
    after = captured(flux, [edit(text)], texts, steps=1)
    unit = direction().unit
    for one, other in zip(before, after, strict=True):
        mine = one[0].hookpoint.tokens == point.tokens
        assert torch.equal(one[0].tensor, other[0].tensor) != mine
        if mine:
            torch.testing.assert_close(other[0].tensor, one[0].tensor + 4.0 * unit, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("text", EVERYWHERE)
def test_strength_zero_is_bit_identical_and_others_are_seen_in_the_picture(flux: Any, text: str) -> None:
    plain = generate(flux, PROMPTS, SEEDS)
    assert np.array_equal(generate(flux, PROMPTS, SEEDS, edits=steered_batches(flux, [edit(text, 0.0)])), plain)
    # Through the hooks too, where only some strengths are zero: those pictures keep every bit.
    some = edit(text, torch.tensor([0.0, 8.0, 0.0]))
    moved = generate(flux, PROMPTS, SEEDS, edits=steered_batches(flux, [some]))
    assert [bool((one != other).any()) for one, other in zip(moved, plain, strict=True)] == [False, True, False]
    assert np.array_equal(generate(flux, PROMPTS, SEEDS), plain)


def test_an_edit_is_made_in_its_steps_alone(flux: Any) -> None:
    block = f"{SINGLE}.0"
    before = captured(flux, [], [block])[0]
    after = captured(flux, [edit(block, steps=(2, 2))], [block])[0]
    assert [torch.equal(a.tensor, b.tensor) for a, b in zip(before, after, strict=True)] == [True, True, False, False]
    torch.testing.assert_close(after[2].tensor, before[2].tensor + 4.0 * direction().unit, rtol=1e-4, atol=1e-4)


def test_the_only_branch_carries_the_prompt(flux: Any) -> None:
    block = f"{DOUBLE}.0"
    plain = captured(flux, [], [block], steps=1)[0][0].tensor
    made = {branch: captured(flux, [edit(block, branch=branch)], [block], steps=1)[0][0].tensor
            for branch in ("cond", "both", "opposed", "uncond")}  # fmt: skip
    assert torch.equal(made["uncond"], plain)
    assert torch.equal(made["cond"], made["both"]) and torch.equal(made["cond"], made["opposed"])
    assert not torch.equal(made["cond"], plain)


def test_edits_of_both_streams_of_a_module_compose(flux: Any) -> None:
    block = f"{DOUBLE}.1"
    texts = [block, f"{block}:out:text"]
    plain = captured(flux, [], texts, steps=1)
    both = captured(flux, [edit(block), edit(f"{block}:out:text", -2.0), edit(block, 1.0)], texts, steps=1)
    unit = direction().unit
    for one, other, strength in zip(plain, both, (5.0, -2.0), strict=True):
        torch.testing.assert_close(other[0].tensor, one[0].tensor + strength * unit, rtol=1e-4, atol=1e-4)


def test_a_mask_says_which_image_tokens(flux: Any) -> None:
    block = f"{DOUBLE}.0"
    mask = torch.zeros(3, 5, dtype=torch.bool)  # 24 x 40 pixels
    mask[1, 2:4] = True
    before = captured(flux, [], [block], steps=1)[0][0].tensor
    after = captured(flux, [edit(block, tokens=mask.flatten())], [block], steps=1)[0][0].tensor
    assert torch.equal((before != after).any(-1), mask.flatten().expand(3, -1))


def test_words_of_t5_can_be_meant_although_it_has_no_bos(flux: Any) -> None:
    layer = "text_encoder_2.encoder.block.0"
    vector = Direction(torch.ones(24) / 24**0.5, torch.tensor(1.0), torch.tensor(0.0))
    meant = Edit(Hookpoint.parse(layer), Add(vector, "unit"), 3.0, tokens="content")
    before = captured(flux, [], [layer], steps=1)[0][0].tensor
    after = captured(flux, [meant], [layer], steps=1)[0][0].tensor
    lengths = torch.tensor([min(len(prompt), 11) for prompt in PROMPTS])
    assert torch.equal((before != after).any(-1), torch.arange(12)[None] < lengths[:, None])


def test_latents_are_edited_at_a_flux_block(flux: Any) -> None:
    """x' = x + strength * D_f on every image token: the reconstruction's error is kept exactly."""
    generator = torch.Generator().manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(64, 16, generator=generator), dim=1)
    sae = Sae(decoder.clone(), torch.zeros(64), decoder, torch.zeros(16), TopK(4))
    part = LatentPart(torch.tensor([5]), AddLatents(torch.tensor([2.0])))
    block = f"{SINGLE}.1"
    meant = Edit(Hookpoint.parse(block), EditLatents(sae, (part,)), 1.0)
    texts = [block, f"{block}:out:text"]
    before, after = captured(flux, [], texts, steps=1), captured(flux, [meant], texts, steps=1)
    torch.testing.assert_close(after[0][0].tensor, before[0][0].tensor + 2.0 * decoder[5], rtol=1e-4, atol=1e-4)
    assert torch.equal(after[1][0].tensor, before[1][0].tensor)


@pytest.mark.parametrize("stream", ["image", "text"])
def test_a_gate_by_image_looks_at_its_own_stream(flux: Any, stream: str) -> None:
    block = f"{DOUBLE}.0:out:{stream}"
    means = captured(flux, [], [block], steps=1)[0][0].tensor.mean(1) @ direction(seed=7).unit
    middle = means.sort().values[1:].mean().item()  # between the second and the third
    gate = InImage(Hookpoint.parse(block), direction(seed=7, origin=middle), threshold=0.0)
    place = f"{SINGLE}.0"
    before = captured(flux, [], [place], steps=1)[0][0].tensor
    after = captured(flux, [edit(place, gate=gate)], [place], steps=1)[0][0].tensor
    assert torch.equal((before != after).flatten(1).any(1), means > middle)
    assert int((means > middle).sum()) == 1


def test_edits_that_do_not_fit_are_refused(flux: Any) -> None:
    with (
        pytest.raises(UserError, match="only the transformer runs once per step"),
        steer(flux, [edit("text_encoder.encoder.layers.0", steps=(0, 1))]),
    ):
        pass
    wide = Edit(Hookpoint.parse(f"{DOUBLE}.0"), Add(direction(8), "unit"), 1.0)
    with pytest.raises(UserError, match=r"tensors ending in \[8\]"):
        captured(flux, [wide], [f"{DOUBLE}.0"], steps=1)


def hooks(model: Any) -> int:
    parts = [part for part in model.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for part in parts for m in part.modules())


def test_nothing_stays_on_the_model(flux: Any) -> None:
    before = hooks(flux)
    captured(flux, [edit(text) for text in EVERYWHERE], EVERYWHERE, steps=1)
    with pytest.raises(ZeroDivisionError), steer(flux, [edit(text) for text in EVERYWHERE]):
        assert hooks(flux) > before
        raise ZeroDivisionError
    assert hooks(flux) == before
    assert not {"encode_prompt", "maybe_free_model_hooks"} & set(vars(flux.pipeline))


def test_networks_that_are_brought_when_they_run_give_the_same_bits(flux: Any) -> None:
    """What a GPU does to save memory, with a CPU as the device: accelerate's hooks stand around every network."""
    offloaded = load_model(flux.spec, device=flux.device)
    offloaded.pipeline.enable_model_cpu_offload(device="cpu")
    edits = [edit(f"{DOUBLE}.0"), edit(f"{SINGLE}.0.attn:out:text")]
    mine, theirs = captured(flux, edits, EVERYWHERE), captured(offloaded, edits, EVERYWHERE)
    for one, other in zip(mine, theirs, strict=True):
        assert all(torch.equal(a.tensor, b.tensor) and a.step == b.step for a, b in zip(one, other, strict=True))
    assert np.array_equal(generate(flux, PROMPTS, SEEDS), generate(offloaded, PROMPTS, SEEDS))


def test_an_edit_goes_where_offloaded_weights_will_be() -> None:
    block, other = torch.nn.Linear(2, 2, device="meta"), torch.nn.Linear(2, 2)
    network: Any = torch.nn.Sequential(block)
    pipeline = SimpleNamespace(components={"vae": torch.nn.Linear(2, 2), "transformer": network}, device="cpu")
    assert execution_device(pipeline, other) == torch.device("cpu")
    network._hf_hook = SimpleNamespace(execution_device=torch.device("cuda", 1))
    # `model` offloading: the hook is the whole network's. `sequential`: each part has its own.
    assert execution_device(pipeline, block) == torch.device("cuda", 1)
    block._hf_hook = SimpleNamespace(execution_device=0)  # type: ignore[assignment]
    assert execution_device(pipeline, block).index == 0
    assert execution_device(pipeline, torch.nn.Identity()) == torch.device("cpu")
