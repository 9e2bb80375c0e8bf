"""What an architecture decides: which latents a training step uses, how they are decoded, what comes out of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor

from steerwright.sae.activations import Activation
from steerwright.sae.training.selection import PreActivations, Selection

if TYPE_CHECKING:
    from steerwright.sae.training.config import SaeConfig

Channels = Literal["one", "nested", "multi"]
"""How a row's latents are decoded: together; group by group, each prefix for itself; k and 4 k of them."""


class Architecture(ABC):
    """One architecture; it holds no state."""

    name: ClassVar[str]
    sparse_by: ClassVar[Literal["k", "l1", "l0"]]
    """The number of the configuration that makes it sparse: a choice of k, or the weight of a penalty."""
    settings: ClassVar[tuple[str, ...]] = ()
    """Fields of `SaeConfig` that are its own."""
    learns_threshold: ClassVar[bool] = False

    def channels(self, config: SaeConfig) -> Channels:  # noqa: ARG002
        """How its latents are decoded."""
        return "one"

    @abstractmethod
    def select(self, config: SaeConfig, pre: PreActivations, floor: Tensor | float) -> Selection:
        """The latents that a step over `pre` uses; `floor`: below it none is active where a penalty chooses."""

    @abstractmethod
    def activation(self, config: SaeConfig, threshold: Tensor | None, least: Tensor) -> Activation:
        """What chooses latents after training; `threshold` [n] if it learns one, `least` the mean least selected."""
