"""TopK: the k largest of every row. arXiv:2406.04093, which also has MultiTopK (appendix A.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from steerwright.sae.activations import TopK
from steerwright.sae.architectures.architecture import Architecture, Channels
from steerwright.sae.training.selection import PreActivations, Selection, largest_of_rows

if TYPE_CHECKING:
    from steerwright.sae.training.config import SaeConfig


class TopKRows(Architecture):
    """The k largest of every row, in training and after it."""

    name = "topk"
    sparse_by = "k"
    settings = ("multi_topk",)

    def channels(self, config: SaeConfig) -> Channels:
        return "multi" if config.multi_topk else "one"

    def select(self, config: SaeConfig, pre: PreActivations, floor: Tensor | float) -> Selection:  # noqa: ARG002
        assert config.k is not None
        return largest_of_rows(pre, 4 * config.k if config.multi_topk else config.k)

    def activation(self, config: SaeConfig, threshold: Tensor | None, least: Tensor) -> TopK:  # noqa: ARG002
        assert config.k is not None
        return TopK(config.k)
