"""Edits of the images that hold a concept, as one block sees it: the others keep every bit."""

from typing import Any

import numpy as np
import pytest
import torch

from steerwright.activations.record import record
from steerwright.errors import UserError
from steerwright.models.attention_blocks import AttentionBlock, attention_blocks
from steerwright.models.generate import generate
from steerwright.models.schedule import timesteps
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import steer, steered_batches
from steerwright.steering.attention import AttentionRecipe, attention_edits
from steerwright.steering.gates import InImage
from steerwright.steering.operators import Add
from steerwright.vectors.direction import Direction
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

PROMPTS, SEEDS = ["a b a", "b"], [3, 4]


@pytest.fixture
def blocks(sd21: Any) -> dict[str, AttentionBlock]:
    return {block.name: block for block in attention_blocks(sd21.pipeline)}


def direction(width: int, origin: float = 0.0) -> Direction:
    return Direction(torch.eye(width)[0], torch.tensor(1.0), torch.tensor(origin))


def between(model: Any, block: AttentionBlock) -> tuple[float, int]:
    """A threshold that one of the two images exceeds at every step, and which one that is."""
    with record(model.pipeline, [block.hookpoint]) as recording:
        generate(model, PROMPTS, SEEDS)
    means = torch.stack([tensor[2:].mean(1)[:, 0] for tensor in recording[block.hookpoint]])
    higher = int(means[0].argmax())
    low, high = means[:, 1 - higher].max(), means[:, higher].min()
    assert low < high, "the two prompts do not differ enough here for this test to say anything"
    return float(low + high) / 2, higher


def gated(block: AttentionBlock, at: AttentionBlock, threshold: float, strength: float = 5.0) -> Edit:
    gate = InImage(at.hookpoint, direction(at.width), threshold)
    return Edit(block.hookpoint, Add(direction(block.width), "unit"), strength, branch="cond", gate=gate)


@pytest.mark.parametrize("edited", ["mid.0", "up.2", "down.3"])
def test_only_the_images_that_hold_the_concept_change(sd21: Any, blocks: Any, edited: str) -> None:
    threshold, higher = between(sd21, blocks["mid.0"])
    plain = generate(sd21, PROMPTS, SEEDS)
    edit = gated(blocks[edited], blocks["mid.0"], threshold)
    steered = generate(sd21, PROMPTS, SEEDS, edits=steered_batches(sd21, [edit]))
    assert np.array_equal(steered[1 - higher], plain[1 - higher])
    assert not np.array_equal(steered[higher], plain[higher])
    alone = generate(sd21, [PROMPTS[higher]], [SEEDS[higher]], edits=steered_batches(sd21, [edit]))
    assert np.abs(alone[0].astype(int) - steered[higher]).max() <= 1


def test_an_image_is_judged_by_what_the_block_gave_before_its_own_edit(sd21: Any, blocks: Any) -> None:
    threshold, higher = between(sd21, blocks["mid.0"])
    # Taking away more than the threshold: if the edited tensor were measured, the next step would find nothing.
    edit = gated(blocks["mid.0"], blocks["mid.0"], threshold, strength=-100.0)
    with steer(sd21, [edit]), record(sd21.pipeline, [blocks["mid.0"].hookpoint]) as recording:
        generate(sd21, PROMPTS, SEEDS)
    first = recording[blocks["mid.0"].hookpoint][0][2:].mean(1)[:, 0]
    assert first[higher] < -50 < first[1 - higher]


def test_a_block_that_runs_before_the_gate_waits_one_step(sd21: Any, blocks: Any) -> None:
    edit = gated(blocks["down.0"], blocks["mid.0"], -1e6, strength=50.0)
    with steer(sd21, [edit]), record(sd21.pipeline, [blocks["down.0"].hookpoint]) as recording:
        generate(sd21, PROMPTS, SEEDS)
    far = [float(tensor[2:, :, 0].mean()) for tensor in recording[blocks["down.0"].hookpoint]]
    assert far[0] < 25 < min(far[1:])
    # A call that follows in the same block begins again: it does not go by the last step of the call before.
    for steps in (1, 3):
        with steer(sd21, [edit]):
            first, second = (generate(sd21, PROMPTS, SEEDS, steps=steps) for _ in range(2))
        assert np.array_equal(first, second)


def test_no_hook_is_left_after_an_exception(sd21: Any, blocks: Any) -> None:
    def hooks() -> int:
        return sum(len(module._forward_hooks) for module in sd21.pipeline.unet.modules())

    before = hooks()
    with pytest.raises(RuntimeError, match="stop"), steer(sd21, [gated(blocks["up.0"], blocks["mid.0"], 0.0)]):
        assert hooks() > before
        raise RuntimeError("stop")
    assert hooks() == before


def test_the_recipe_takes_the_gates_direction_from_the_same_step(sd21: Any, blocks: Any) -> None:
    schedule = timesteps(sd21.pipeline, 3)
    directions = {
        VectorKey(blocks[name].hookpoint, steps=(step, step), branch="cond"): direction(
            blocks[name].width, origin=float(step)
        )
        for name in ("mid.0", "up.0")
        for step in range(len(schedule))
    }
    vectors = SteeringVectors("c", sd21.fingerprint, "mean_difference", "mean", directions, schedule)
    recipe = AttentionRecipe(places=("up.0",), gate=0.75, gate_at="mid.0")
    # Both kinds of attention, as `steerwright generate` lists them: only cross-attention has vectors here.
    both = attention_blocks(sd21.pipeline, ("self", "cross"))
    edits = attention_edits("erase", vectors, 1.0, blocks=both, timesteps=schedule, recipe=recipe)
    for edit in edits:
        assert isinstance(edit.gate, InImage) and edit.steps is not None
        assert edit.gate.hookpoint == blocks["mid.0"].hookpoint
        assert float(edit.gate.direction.origin) == edit.steps[0]  # type: ignore[arg-type]


def vectors_at(model: Any, blocks: Any, steps: int, width_of_bin: int = 1) -> SteeringVectors:
    """Vectors for mid.0 and up.0 whose origin says from which step they are."""
    schedule = timesteps(model.pipeline, steps)
    directions = {
        VectorKey(blocks[name].hookpoint, steps=(step, step + width_of_bin - 1), branch="cond"): direction(
            blocks[name].width, origin=float(step)
        )
        for name in ("mid.0", "up.0")
        for step in range(0, steps, width_of_bin)
    }
    return SteeringVectors("c", model.fingerprint, "mean_difference", "mean", directions, schedule)


@pytest.mark.parametrize(("width_of_bin", "windows", "held"), [
    (1, [(0, 0), (1, 1), (2, 2), (3, 3)], [None, None, 1, 1]),
    # A bin that the gate is decided within is cut there.
    (4, [(0, 1), (2, 3)], [None, 1]),
], ids=["a vector a step", "a bin"])  # fmt: skip
def test_the_recipe_holds_the_gate_after_the_step_that_decides(
    sd21: Any, blocks: Any, width_of_bin: int, windows: list[tuple[int, int]], held: list[int | None]
) -> None:
    vectors = vectors_at(sd21, blocks, 4, width_of_bin)
    recipe = AttentionRecipe(places=("up.0",), gate=0.75, gate_at="mid.0", gate_until=1)
    edits = attention_edits(
        "erase", vectors, 1.0, blocks=list(blocks.values()), timesteps=vectors.timesteps, recipe=recipe
    )
    gates = [edit.gate for edit in edits if isinstance(edit.gate, InImage)]
    assert [edit.steps for edit in edits] == windows and [gate.held_from for gate in gates] == held
    looked_at = [1 // width_of_bin * width_of_bin if gate.held_from == 1 else edit.steps[0] for edit, gate
                 in zip(edits, gates, strict=True) if edit.steps]  # fmt: skip
    assert [float(gate.direction.origin) for gate in gates] == looked_at  # type: ignore[arg-type]


def test_a_gate_is_held_only_where_it_is_measured_at_a_block(sd21: Any, blocks: Any) -> None:
    with pytest.raises(UserError, match="say at which block"):
        attention_edits("erase", vectors_at(sd21, blocks, 2), 1.0, blocks=list(blocks.values()), timesteps=(1.0, 0.0),
                        recipe=AttentionRecipe(places=("up.0",), gate=0.75, gate_until=0))  # fmt: skip


@pytest.mark.parametrize("held_from", [0, 1])
def test_a_held_gate_acts_from_its_step_on_whatever_the_edit_does_to_the_concept(
    sd21: Any, blocks: Any, held_from: int
) -> None:
    threshold, higher = between(sd21, blocks["mid.0"])
    gate = InImage(blocks["mid.0"].hookpoint, direction(blocks["mid.0"].width), threshold, held_from)
    # At an early block, and far enough that mid.0 sees something else afterwards.
    add = Add(direction(blocks["down.0"].width), "unit")
    edit = Edit(blocks["down.0"].hookpoint, add, -200.0, branch="cond", gate=gate)
    last = len(timesteps(sd21.pipeline, 4)) - 1
    steered = generate(sd21, PROMPTS, SEEDS, steps=4, edits=steered_batches(sd21, [edit]))
    # The same without a gate: this image alone, from the step after (down.0 runs before mid.0).
    chosen = torch.tensor([-200.0 * (i == higher) for i in range(2)])
    freely = Edit(blocks["down.0"].hookpoint, add, chosen, branch="cond", steps=(held_from + 1, last))
    expected = generate(sd21, PROMPTS, SEEDS, steps=4, edits=steered_batches(sd21, [freely]))
    assert np.array_equal(steered, expected)
    assert not np.array_equal(steered[higher], generate(sd21, PROMPTS, SEEDS, steps=4)[higher])
