"""A new bound is one class: nothing else of the library knows of it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steerwright.activations.record import record
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint
from steerwright.steering.algebra import Bound, Edit
from steerwright.steering.apply import steer
from steerwright.steering.operators import Add
from steerwright.vectors.direction import Direction

BLOCK = Hookpoint.parse("unet.mid_block.attentions.0")


@dataclass(frozen=True, slots=True)
class Half(Bound):
    """Half of the way."""

    def limit(self, before: Tensor, after: Tensor) -> Tensor:
        return (before + after) / 2


def test_a_new_bound_limits_what_a_running_model_takes(sd21: Any) -> None:
    with record(sd21.pipeline, [BLOCK]) as plain:
        generate(sd21, ["a b"], [1])
    width = plain[BLOCK][0].shape[1]
    edit = Edit(BLOCK, Add(Direction(torch.eye(width)[3], torch.tensor(1.0)), "unit"), 8.0, "both", bound=Half())
    with steer(sd21, [edit]), record(sd21.pipeline, [BLOCK]) as steered:
        generate(sd21, ["a b"], [1])
    moved = steered[BLOCK][0] - plain[BLOCK][0]
    assert torch.allclose(moved[:, 3], torch.tensor(4.0), atol=1e-4)
    assert torch.allclose(moved[:, :3], torch.tensor(0.0), atol=1e-5)
