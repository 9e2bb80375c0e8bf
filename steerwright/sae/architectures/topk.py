"""TopK: the k largest of every row. arXiv:2406.04093, which also has MultiTopK (appendix A.3)."""

from typing import Literal, Self

from pydantic import model_validator
from torch import Tensor

from steerwright.sae.activations import TopK
from steerwright.sae.architectures.architecture import Architecture, Channels, SparseByChoice
from steerwright.sae.training.selection import PreActivations, Selection, largest_of_rows


class TopKConfig(SparseByChoice):
    architecture: Literal["topk"] = "topk"
    multi_topk: bool = False
    """Add FVU with 4 k latents, at an eighth of its weight, so that more latents than k may be used later."""

    @model_validator(mode="after")
    def _four_times_are_there(self) -> Self:
        if self.multi_topk and 4 * self.k > self.latents:
            raise ValueError(f"multi_topk uses 4 k = {4 * self.k} of {self.latents} latents; lower k or raise latents")
        return self


class TopKRows(Architecture[TopKConfig]):
    """The k largest of every row, in training and after it."""

    config = TopKConfig

    def channels(self, config: TopKConfig) -> Channels:
        return "multi" if config.multi_topk else "one"

    def select(self, config: TopKConfig, pre: PreActivations, floor: Tensor | float) -> Selection:  # noqa: ARG002
        return largest_of_rows(pre, 4 * config.k if config.multi_topk else config.k)

    def activation(self, config: TopKConfig, threshold: Tensor | None, least: Tensor) -> TopK:  # noqa: ARG002
        return TopK(config.k)
