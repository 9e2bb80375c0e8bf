"""Windows that a model fills while it generates: deterministic, bounded, resumable at groups of prompts."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch

from steerwright.activations.shard_plan import CollectedPrompt
from steerwright.activations.store.from_model import GenerationRoom, RowGeneration
from steerwright.activations.store.rows import Rows
from steerwright.errors import UserError
from steerwright.models.families import Step
from steerwright.models.hookpoints import Hookpoint

SMALL, LARGE = Hookpoint.parse("unet.mid_block:out"), Hookpoint.parse("unet.conv_in:out")
PROMPTS = [CollectedPrompt(id=f"p{n}", prompt=f"prompt {n}", split="train", seed=1000 + n) for n in range(10)]
STEPS = 2


class FakeModel:
    """Two steps; 4 tokens of width 3 at SMALL and 16 of width 2 at LARGE, saying which prompt, seed, step and token."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.seeds: list[int] = []

    def __call__(self, prompts: Sequence[CollectedPrompt], take: Callable[[Rows], None]) -> None:
        ids, seeds = [one.id for one in prompts], [one.seed for one in prompts]
        self.groups.append(ids)
        self.seeds += seeds
        with torch.inference_mode():
            for step in range(STEPS):
                for hookpoint, tokens, width in ((SMALL, 4, 3), (LARGE, 16, 2)):
                    values = torch.zeros(len(prompts), tokens, width)
                    values[..., 0] = torch.tensor([float(id_[1:]) for id_ in ids])[:, None]
                    values[..., 1] = torch.arange(tokens) + 100 * step
                    take(Rows(hookpoint, values, ids, seeds, Step(step, 1.0, 1.0), "cond"))


def generation(model: Any, capacity: int = 200, group: int = 3, seed: int = 4) -> RowGeneration:
    return RowGeneration(PROMPTS, model, group=group, capacity=capacity, seed=seed, device=torch.device("cpu"))


def windows(made: RowGeneration, count: int, epoch: int = 0, start: int = 0) -> list[tuple[int, int, int, Any]]:
    """Epoch, first and last group, and the rows at SMALL as they are given out."""
    found = []
    for window in made.windows(epoch, start, None):
        room = GenerationRoom()
        made.fill(window, room)
        batch = room.halves[SMALL].draw(0, room.held)
        found.append((window.epoch, window.start, window.stop, batch))
        if len(found) == count:
            break
    return found


def test_every_epoch_has_every_row_once_in_another_order() -> None:
    made = generation(FakeModel())
    # A group has 3 * 16 * 2 = 96 rows at LARGE, so two fit into 200; the last group of an epoch has one prompt.
    found = windows(made, 4)
    assert [window[:3] for window in found] == [(0, 0, 2), (0, 2, 4), (1, 0, 2), (1, 2, 4)]
    epochs = [[tuple(row[:2].tolist()) for _, _, _, b in found[i : i + 2] for row in b.rows] for i in (0, 2)]
    all_rows = {(float(p), t + 100.0 * s) for p in range(10) for t in range(4) for s in range(STEPS)}
    assert all(len(rows) == len(all_rows) and set(rows) == all_rows for rows in epochs)
    assert epochs[0] != epochs[1]


def test_rows_are_shuffled_in_a_window_and_come_with_their_step() -> None:
    batch = windows(generation(FakeModel()), 1)[0][3]
    assert torch.equal(batch.step, (batch.rows[:, 1] >= 100).long())
    prompts = batch.rows[:, 0].tolist()
    changes = sum(a != b for a, b in pairwise(prompts))
    assert changes > 24  # of 47 neighbours; 6 prompts in blocks of 4 rows would change 11 times


def test_going_on_from_a_window_gives_the_same_rows() -> None:
    whole = windows(generation(FakeModel()), 6)
    for position in range(1, 6):
        epoch, start, _, _ = whole[position]
        again = windows(generation(FakeModel()), 6 - position, epoch, start)
        for (*place, batch), (*same_place, same) in zip(whole[position:], again, strict=True):
            assert place == same_place
            assert torch.equal(batch.rows, same.rows) and torch.equal(batch.step, same.step)


def test_another_seed_gives_another_order() -> None:
    one, other = FakeModel(), FakeModel()
    windows(generation(one, seed=1), 2)
    windows(generation(other, seed=2), 2)
    assert one.groups != other.groups


def test_the_first_epoch_has_the_prompts_own_seeds_and_later_ones_never_repeat() -> None:
    model = FakeModel()
    windows(generation(model), 6)
    first, later = model.seeds[:10], model.seeds[10:]
    assert sorted(first) == [prompt.seed for prompt in PROMPTS]
    assert len(set(model.seeds)) == 30 and all(0 <= seed < 2**63 for seed in later)


def test_hookpoints_are_drawn_together_as_far_as_the_smaller_goes() -> None:
    made = generation(FakeModel())
    window, room = next(made.windows(0, 0, None)), GenerationRoom()
    made.fill(window, room)
    assert room.held == 6 * STEPS * 4  # six prompts, SMALL's tokens
    large = room.halves[LARGE].draw(0, room.held)
    assert len(large) == 48 and len({tuple(row) for row in large.rows.tolist()}) == 48
    assert {row[0] for row in large.rows.tolist()} == {row[0] for row in room.halves[SMALL].draw(0, 48).rows.tolist()}


def test_the_pool_is_no_larger_than_it_may_be_and_says_when_it_is_too_small() -> None:
    made = generation(FakeModel(), capacity=96)
    window, room = next(made.windows(0, 0, None)), GenerationRoom()
    made.fill(window, room)
    assert window.stop == 1 and {half.capacity for half in room.halves.values()} == {96}
    too_small = generation(FakeModel(), capacity=95)
    with pytest.raises(UserError, match=r"more rows at unet.conv_in:out than half of the shuffle pool holds \(95\)"):
        too_small.fill(next(too_small.windows(0, 0, None)), GenerationRoom())


def test_rows_that_are_not_finite_are_left_out_and_counted() -> None:
    class Overflowing(FakeModel):
        def __call__(self, prompts: Sequence[CollectedPrompt], take: Callable[[Rows], None]) -> None:
            def spoil(rows: Rows) -> None:
                rows.values[0, 1, -1] = float("inf")
                take(rows)

            super().__call__(prompts, spoil)

    made = generation(Overflowing())
    window, room = next(made.windows(0, 0, None)), GenerationRoom()
    made.fill(window, room)
    assert made.dropped == 2 * STEPS * 2  # a row of each of two groups, steps and hookpoints
    assert room.held == 48 - 4
    assert torch.isfinite(room.halves[SMALL].draw(0, room.held).rows).all()


def test_what_is_drawn_can_be_trained_on() -> None:
    """The model runs in inference mode; its tensors must not reach autograd as they are."""
    batch = windows(generation(FakeModel()), 1)[0][3]
    weight = torch.ones(3, requires_grad=True)
    (batch.rows * weight).sum().backward()
    assert weight.grad is not None
