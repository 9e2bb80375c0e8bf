"""A new operator is one class: nothing else of the library knows of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steerwright.activations.record import record
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import steer
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


def test_a_new_operator_moves_what_the_model_computes(sd21: Any) -> None:
    with record(sd21.pipeline, [BLOCK]) as plain:
        before = generate(sd21, ["a b"], [1])
    centre = plain[BLOCK][0].mean((0, 2, 3))
    edit = Edit(BLOCK, Mirror(centre), 1.0, branch="both")
    with steer(sd21, [edit]), record(sd21.pipeline, [BLOCK]) as steered:
        after = generate(sd21, ["a b"], [1])
    assert torch.allclose(steered[BLOCK][0], 2 * centre[:, None, None] - plain[BLOCK][0], atol=1e-4)
    assert not np.array_equal(before[0], after[0])
