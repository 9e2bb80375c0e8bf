"""What an architecture is: its configuration, which latents a training step uses, what comes out of training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from steerwright.sae.activations import Activation
from steerwright.sae.training.selection import PreActivations, Selection

Channels = Literal["one", "nested", "multi"]
"""How a row's latents are decoded: together; group by group, each prefix for itself; k and 4 k of them."""


class SaeConfig(BaseModel):
    """One autoencoder to train; architectures add what makes them sparse, and settings of their own.

    Losses and strengths are in units of scaled rows, whose mean norm is sqrt(d).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str
    """A name in `sae.architectures`."""
    latents: int = Field(gt=0)
    """Number of latents, n."""
    auxk: float = Field(default=1 / 32, ge=0)
    """Weight of AuxK, the dead latents' attempt at what the living leave over (arXiv:2406.04093); 0: without."""
    auxk_latents: int | None = Field(default=None, gt=0)
    """Dead latents that a row's attempt uses; half the rows' width if not given."""
    seed: int = 0
    """Of the directions that latents start from."""
    dead_after_rows: int = Field(default=10_000_000, gt=0)
    """A latent is dead when it has not fired (been above 0) in so many rows."""
    learning_rate: float | None = Field(default=None, gt=0)
    """2e-4 / sqrt(n / 2^14) if not given (arXiv:2406.04093)."""
    warm_up_rows: int = Field(default=0, ge=0)
    """Rows over which the learning rate, and the weight of a penalty, grow from 0."""
    bf16_encoder: bool = False
    """Multiply rows by the encoder in bfloat16 (products summed in float32); weights and the rest stay float32."""
    normalise: bool = True
    """Scale rows so that their mean norm is sqrt(d); otherwise they are learned as they come."""

    @property
    def rate(self) -> float:
        """Peak learning rate of Adam."""
        return self.learning_rate if self.learning_rate is not None else 2e-4 / math.sqrt(self.latents / 2**14)

    @property
    def active(self) -> int | None:
        """Latents that are active in a row, at most or on average; None where a penalty decides."""
        return None

    @property
    def penalties(self) -> tuple[float, float]:
        """Weights of the mean over rows of the latents' sum, over sqrt(d), and of their number, beside FVU."""
        return 0.0, 0.0

    @property
    def group_ends(self) -> list[int]:
        """Ends of the nested groups, the last one n."""
        return [self.latents]

    @model_validator(mode="after")
    def _auxk_is_used(self) -> Self:
        if self.auxk_latents is not None and self.auxk == 0:
            raise ValueError("auxk_latents says how AuxK is computed, but auxk is 0; take it out, or set auxk")
        return self


class SparseByChoice(SaeConfig):
    """Latents are few because k of them are chosen."""

    k: int = Field(gt=0)
    """Active latents of a row: at most for topk, on average for batchtopk and matryoshka."""

    @property
    def active(self) -> int:
        return self.k

    @model_validator(mode="after")
    def _are_there(self) -> Self:
        if self.k > self.latents:
            raise ValueError(f"k = {self.k} exceeds the {self.latents} latents; lower k or raise latents")
        return self


class LearnedThreshold(SaeConfig):
    """Each latent has a threshold, which is learned."""

    threshold: float = Field(default=0.1, gt=0)
    """Where the thresholds start."""
    bandwidth: float = Field(default=0.5, gt=0)
    """Width of the window around a threshold in which pre-activations move it (arXiv:2407.14435)."""


Config = TypeVar("Config", bound=SaeConfig)


class Architecture(ABC, Generic[Config]):
    """One architecture; it holds no state."""

    config: type[Config]
    """What params.yaml says of an autoencoder of it; the name is the default of `architecture`."""
    penalty: ClassVar[Literal["l1", "l0"] | None] = None
    """The penalty that keeps latents few; None: a choice of k does."""

    @property
    def name(self) -> str:
        """The name that params.yaml gives."""
        return str(self.config.model_fields["architecture"].default)

    @property
    def learns_threshold(self) -> bool:
        """Whether each latent has a threshold that training moves."""
        return issubclass(self.config, LearnedThreshold)

    def channels(self, config: Config) -> Channels:  # noqa: ARG002
        """How its latents are decoded."""
        return "one"

    @abstractmethod
    def select(self, config: Config, pre: PreActivations, floor: Tensor | float) -> Selection:
        """The latents that a step over `pre` uses; `floor`: below it none is active where a penalty chooses."""

    @abstractmethod
    def activation(self, config: Config, threshold: Tensor | None, least: Tensor) -> Activation:
        """What chooses latents after training; `threshold` [n] if it learns one, `least` the mean least selected."""
