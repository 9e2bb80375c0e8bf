"""BatchTopK: k latents of a row on average over the batch. arXiv:2412.06410."""

from typing import Literal

from torch import Tensor

from steerwright.sae.activations import JumpRelu
from steerwright.sae.architectures.architecture import Architecture, Config, SparseByChoice
from steerwright.sae.training.selection import PreActivations, Selection, largest_of_batch


class BatchTopKConfig(SparseByChoice):
    architecture: Literal["batchtopk"] = "batchtopk"


class LargestOfBatch(Architecture[Config]):
    """The k * rows largest of a batch; after training, one threshold: the mean least one selected."""

    def select(self, config: Config, pre: PreActivations, floor: Tensor | float) -> Selection:  # noqa: ARG002
        assert config.active is not None
        return largest_of_batch(pre, config.active)

    def activation(self, config: Config, threshold: Tensor | None, least: Tensor) -> JumpRelu:  # noqa: ARG002
        return JumpRelu(least.expand(config.latents).clone())


class BatchTopK(LargestOfBatch[BatchTopKConfig]):
    """Each latent is decoded with all others."""

    config = BatchTopKConfig
