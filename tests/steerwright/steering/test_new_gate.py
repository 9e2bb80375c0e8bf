"""A new gate, by token or by image, is one class: nothing else of the library knows of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint
from steerwright.steering.algebra import Edit, edited
from steerwright.steering.apply import steered_batches
from steerwright.steering.gates import Gate, ImageGate
from steerwright.steering.operators import Add
from steerwright.vectors.direction import Direction

BLOCK = Hookpoint.parse("unet.mid_block.attentions.0")


@dataclass(frozen=True, slots=True)
class WhereLong(Gate):
    """On the tokens whose norm exceeds `length`."""

    length: float

    def mask(self, acts: Tensor) -> Tensor:
        return acts.norm(dim=-1) > self.length


@dataclass(frozen=True, slots=True, eq=False)
class WhereLongOnAverage(ImageGate):
    """In the images whose tokens at `hookpoint` have a mean norm above `length`."""

    hookpoint: Hookpoint
    length: float
    held_from: int | None = None
    device = torch.device("cpu")

    def present(self, acts: Tensor, shared: dict[int, Tensor]) -> Tensor:
        return acts.norm(dim=-1).mean(-1) > self.length


def test_a_new_gate_chooses_tokens() -> None:
    edit = Edit(BLOCK, Add(Direction(torch.tensor([1.0, 0.0]), torch.tensor(1.0)), "unit"), 2.0, gate=WhereLong(1.0))
    acts = torch.tensor([[[3.0, 4.0], [0.3, 0.4]]])
    assert torch.equal(edited(edit, acts), torch.tensor([[[5.0, 4.0], [0.3, 0.4]]]))


@pytest.mark.parametrize(("gate", "acts"), [
    (WhereLong(0.0), True), (WhereLong(1e6), False),
    (WhereLongOnAverage(BLOCK, 0.0), True), (WhereLongOnAverage(BLOCK, 1e6), False),
])  # fmt: skip
def test_it_decides_in_a_running_model(sd21: Any, gate: Gate, acts: bool) -> None:
    width = sd21.pipeline.unet.mid_block.attentions[0].config.in_channels
    edit = Edit(BLOCK, Add(Direction(torch.eye(width)[0], torch.tensor(1.0)), "unit"), 50.0, "both", gate=gate)
    plain, steered = generate(sd21, ["a"], [1]), generate(sd21, ["a"], [1], edits=steered_batches(sd21, [edit]))
    assert np.array_equal(plain, steered) == (not acts)
