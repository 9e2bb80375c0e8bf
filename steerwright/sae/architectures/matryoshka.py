"""Matryoshka: nested groups of latents, each prefix of which reconstructs alone. arXiv:2503.17547."""

import math
from typing import Literal, Self

from pydantic import model_validator

from steerwright.sae.architectures.architecture import Channels, SparseByChoice
from steerwright.sae.architectures.batchtopk import LargestOfBatch


class MatryoshkaConfig(SparseByChoice):
    architecture: Literal["matryoshka"] = "matryoshka"
    groups: list[float] | None = None
    """Shares of the latents in each nested group, smallest prefix first, summing to 1."""

    @property
    def group_ends(self) -> list[int]:
        shares = self.groups if self.groups is not None else [1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2]
        ends = [round(sum(shares[: i + 1]) * self.latents) for i in range(len(shares) - 1)]
        return [*ends, self.latents]

    @model_validator(mode="after")
    def _groups_hold_latents(self) -> Self:
        shares = self.groups or [1.0]
        if any(share <= 0 for share in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
            raise ValueError(f"groups are {self.groups}: shares of the latents, each above 0, that sum to 1")
        ends = self.group_ends
        if any(end <= start for start, end in zip([0, *ends], ends, strict=False)):
            raise ValueError(f"a group of {self.latents} latents would be empty (groups end at {ends}); raise latents")
        return self


class Matryoshka(LargestOfBatch[MatryoshkaConfig]):
    """Chosen as BatchTopK chooses, decoded group by group."""

    config = MatryoshkaConfig

    def channels(self, config: MatryoshkaConfig) -> Channels:  # noqa: ARG002
        return "nested"
