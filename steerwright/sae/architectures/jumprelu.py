"""JumpReLU: a learned threshold for each latent, with a penalty on their number. arXiv:2407.14435."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from steerwright.sae.activations import JumpRelu
from steerwright.sae.architectures.architecture import Architecture
from steerwright.sae.training.selection import PreActivations, Selection, all_above

if TYPE_CHECKING:
    from steerwright.sae.training.config import SaeConfig


class JumpReluThresholds(Architecture):
    """Latents are kept few by the weight `l0` of their number, which moves the thresholds."""

    name = "jumprelu"
    sparse_by = "l0"
    settings = ("threshold", "bandwidth")
    learns_threshold = True

    def select(self, config: SaeConfig, pre: PreActivations, floor: Tensor | float) -> Selection:  # noqa: ARG002
        return all_above(pre, floor)

    def activation(self, config: SaeConfig, threshold: Tensor | None, least: Tensor) -> JumpRelu:  # noqa: ARG002
        assert threshold is not None
        return JumpRelu(threshold.clone())
