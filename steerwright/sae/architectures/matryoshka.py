"""Matryoshka: nested groups of latents, each prefix of which reconstructs alone. arXiv:2503.17547."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steerwright.sae.architectures.architecture import Channels
from steerwright.sae.architectures.batchtopk import BatchTopK

if TYPE_CHECKING:
    from steerwright.sae.training.config import SaeConfig


class Matryoshka(BatchTopK):
    """Chosen as BatchTopK chooses, decoded group by group."""

    name = "matryoshka"
    settings = ("groups",)

    def channels(self, config: SaeConfig) -> Channels:  # noqa: ARG002
        return "nested"
