"""ReLU with an L1 penalty: every positive pre-activation is a latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from steerwright.sae.activations import Relu
from steerwright.sae.architectures.architecture import Architecture
from steerwright.sae.training.selection import PreActivations, Selection, all_above

if TYPE_CHECKING:
    from steerwright.sae.training.config import SaeConfig


class ReluL1(Architecture):
    """Latents are kept few by the weight `l1` of their sum."""

    name = "relu"
    sparse_by = "l1"

    def select(self, config: SaeConfig, pre: PreActivations, floor: Tensor | float) -> Selection:  # noqa: ARG002
        return all_above(pre, floor)

    def activation(self, config: SaeConfig, threshold: Tensor | None, least: Tensor) -> Relu:  # noqa: ARG002
        return Relu()
