"""A new operator, a new gate and a new bound are one class each: nothing else of the library knows of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from steerwright.activations.record import record
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint
from steerwright.steering.algebra import Bound, Edit, edited
from steerwright.steering.apply import steer, steered_batches
from steerwright.steering.gates import Gate, ImageGate
from steerwright.steering.operators import Delta, Operator

BLOCK = Hookpoint.parse("unet.mid_block.attentions.0")


@dataclass(frozen=True, slots=True, eq=False)
class Mirror(Operator):
    """Reflect every token at `centre` [d]."""

    centre: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.centre.shape)

    def delta(self, acts: Tensor) -> Delta:
        return acts.new_full((1,), 2.0), self.centre.to(acts) - acts


@dataclass(frozen=True, slots=True)
class WhereLong(Gate):
    """On the tokens whose norm exceeds `length`."""

    length: float

    def mask(self, acts: Tensor) -> Tensor:
        return acts.norm(dim=-1) > self.length


@dataclass(frozen=True, slots=True, eq=False)
class NeverInImage(ImageGate):
    """In no image, by what `hookpoint` shows."""

    hookpoint: Hookpoint
    held_from: int | None = None

    def present(self, acts: Tensor, shared: dict[int, Tensor]) -> Tensor:
        return torch.zeros(len(acts), dtype=torch.bool, device=acts.device)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Halve(Bound):
    """Half of the way."""

    def limit(self, before: Tensor, after: Tensor) -> Tensor:
        return (before + after) / 2


@pytest.fixture
def centre(sd21: Any) -> Tensor:
    with record(sd21.pipeline, [BLOCK]) as recording:
        generate(sd21, ["a b"], [1])
    return recording[BLOCK][0].mean((0, 2, 3))


def test_a_new_operator_moves_what_the_model_computes(sd21: Any, centre: Tensor) -> None:
    edit = Edit(BLOCK, Mirror(centre), 1.0, branch="both")
    with record(sd21.pipeline, [BLOCK]) as plain:
        before = generate(sd21, ["a b"], [1])
    with steer(sd21, [edit]), record(sd21.pipeline, [BLOCK]) as steered:
        after = generate(sd21, ["a b"], [1])
    assert torch.allclose(steered[BLOCK][0], 2 * centre[:, None, None] - plain[BLOCK][0], atol=1e-4)
    assert not np.array_equal(before[0], after[0])


def test_a_new_gate_chooses_tokens_and_another_images(sd21: Any, centre: Tensor) -> None:
    acts = torch.tensor([[[3.0, 4.0], [0.3, 0.4]]])
    edit = Edit(BLOCK, Mirror(torch.zeros(2)), 1.0, gate=WhereLong(1.0))
    assert torch.equal(edited(edit, acts), torch.tensor([[[-3.0, -4.0], [0.3, 0.4]]]))
    never = Edit(BLOCK, Mirror(centre), 1.0, branch="both", gate=NeverInImage(BLOCK))
    plain = generate(sd21, ["a b"], [1])
    assert np.array_equal(generate(sd21, ["a b"], [1], edits=steered_batches(sd21, [never]))[0], plain[0])
    long = Edit(BLOCK, Mirror(centre), 1.0, branch="both", gate=WhereLong(0.0))
    assert not np.array_equal(generate(sd21, ["a b"], [1], edits=steered_batches(sd21, [long]))[0], plain[0])


def test_a_new_bound_limits_a_token(sd21: Any) -> None:
    edit = Edit(BLOCK, Mirror(torch.zeros(2)), 1.0, bound=Halve())
    assert torch.equal(edited(edit, torch.tensor([[[3.0, 4.0]]])), torch.tensor([[[0.0, 0.0]]]))
