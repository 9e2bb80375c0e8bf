"""JumpReLU: a learned threshold for each latent, with a penalty on their number. arXiv:2407.14435."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from steerwright.sae.activations import JumpRelu
from steerwright.sae.architectures.architecture import Architecture, LearnedThreshold
from steerwright.sae.training.selection import PreActivations, Selection, all_above


class JumpReluConfig(LearnedThreshold):
    architecture: Literal["jumprelu"] = "jumprelu"
    l0: float = Field(ge=0)
    """Weight of the mean number of active latents of a row, beside FVU."""

    @property
    def penalties(self) -> tuple[float, float]:
        return 0.0, self.l0


class JumpReluThresholds(Architecture[JumpReluConfig]):
    """Latents are kept few by the weight `l0` of their number, which moves the thresholds."""

    config = JumpReluConfig
    penalty = "l0"

    def select(self, config: JumpReluConfig, pre: PreActivations, floor: Tensor | float) -> Selection:  # noqa: ARG002
        return all_above(pre, floor)

    def activation(
        self, config: JumpReluConfig, threshold: Tensor | None, least: Tensor  # noqa: ARG002
    ) -> JumpRelu:  # fmt: skip
        assert threshold is not None
        return JumpRelu(threshold.clone())
