"""BatchTopK: k latents of a row on average over the batch. arXiv:2412.06410."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from steerwright.sae.activations import JumpRelu
from steerwright.sae.architectures.architecture import Architecture
from steerwright.sae.training.selection import PreActivations, Selection, largest_of_batch

if TYPE_CHECKING:
    from steerwright.sae.training.config import SaeConfig


class BatchTopK(Architecture):
    """The k * rows largest of a batch; after training, one threshold: the mean least one selected."""

    name = "batchtopk"
    sparse_by = "k"

    def select(self, config: SaeConfig, pre: PreActivations, floor: Tensor | float) -> Selection:  # noqa: ARG002
        assert config.k is not None
        return largest_of_batch(pre, config.k)

    def activation(self, config: SaeConfig, threshold: Tensor | None, least: Tensor) -> JumpRelu:  # noqa: ARG002
        return JumpRelu(least.expand(config.latents).clone())
