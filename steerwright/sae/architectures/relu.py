"""ReLU with an L1 penalty: every positive pre-activation is a latent."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from steerwright.sae.activations import Relu
from steerwright.sae.architectures.architecture import Architecture, SaeConfig
from steerwright.sae.training.selection import PreActivations, Selection, all_above


class ReluConfig(SaeConfig):
    architecture: Literal["relu"] = "relu"
    l1: float = Field(ge=0)
    """Weight of the mean over rows of the latents' sum, over sqrt(d), beside FVU."""

    @property
    def penalties(self) -> tuple[float, float]:
        return self.l1, 0.0


class ReluL1(Architecture[ReluConfig]):
    """Latents are kept few by the weight `l1` of their sum."""

    config = ReluConfig
    penalty = "l1"

    def select(self, config: ReluConfig, pre: PreActivations, floor: Tensor | float) -> Selection:  # noqa: ARG002
        return all_above(pre, floor)

    def activation(self, config: ReluConfig, threshold: Tensor | None, least: Tensor) -> Relu:  # noqa: ARG002
        return Relu()
