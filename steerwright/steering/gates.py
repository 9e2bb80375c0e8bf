"""When an edit acts: conditions on each token's activation, or on each image."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from steerwright.models.hookpoints import Hookpoint
from steerwright.steering.operators import check_origin
from steerwright.vectors.direction import Direction


class Gate:
    """When an edit acts; a new one is a subclass, as a frozen dataclass, that gives a `mask`."""

    __slots__ = ()
    pictures_only: ClassVar[bool] = False
    """Looks at pictures; a language model refuses it."""

    def mask(self, acts: Float[Tensor, "*tokens d"]) -> Bool[Tensor, "*tokens"] | None:  # noqa: ARG002
        """Bool [..., tokens] of the tokens of `acts` [..., tokens, d] on which to act; None for all of them."""
        return None


class ImageGate(Gate, ABC):
    """A gate by image: on all tokens of the images that hold a concept.

    What is measured is the latest forward of `hookpoint` before any edit of it, image by image and branch by branch; a
    block that runs before it goes by the step before. With `held_from` it is measured at that denoising step alone, and
    holds from then on: an edit cannot take away what its own gate looks for. A new one is a frozen dataclass with
    `eq=False`: it is known by its identity.
    """

    __slots__ = ()
    pictures_only = True
    hookpoint: Hookpoint
    held_from: int | None

    @abstractmethod
    def present(self, acts: Float[Tensor, "images tokens d"], shared: dict[int, Tensor]) -> Bool[Tensor, " images"]:
        """Bool [images]: which images hold the concept, from `acts` [images, tokens, d] at the gate's hookpoint.

        `shared` is kept for all gates that look at the same `acts`, by the id of what they share.
        """

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where its tensors are."""


@dataclass(frozen=True, slots=True)
class Always(Gate):
    """On every token."""


@dataclass(frozen=True, slots=True, eq=False)
class WherePresent(Gate):
    """On tokens whose projection on `direction` exceeds `threshold`, in the activation's own units.

    `centred`: the threshold counts in units of the concept: 0 where the mean of the prompts without it lies, 1 where
    that of the prompts with it does. Raises UserError when the direction does not record where that is.
    """

    direction: Direction
    threshold: float = 0.0
    centred: bool = False

    def __post_init__(self) -> None:
        if self.centred:
            check_origin(self.direction)

    def mask(self, acts: Float[Tensor, "*tokens d"]) -> Bool[Tensor, "*tokens"]:
        unit = self.direction.unit
        along = acts @ unit if unit.ndim == 1 else (acts * unit).sum(-1)
        return along > (_level(self.direction, self.threshold) if self.centred else self.threshold)


@dataclass(frozen=True, slots=True, eq=False)
class InImage(ImageGate):
    """On all tokens of the images that hold the concept: whose mean projection at `hookpoint` exceeds `threshold`.

    `threshold` counts in units of the concept, as for a centred `WherePresent`. A presence that one block tells apart
    well thus serves blocks that do not.
    """

    hookpoint: Hookpoint
    direction: Direction
    threshold: float = 0.5
    held_from: int | None = None

    def __post_init__(self) -> None:
        check_origin(self.direction)

    def present(self, acts: Float[Tensor, "images tokens d"], shared: dict[int, Tensor]) -> Bool[Tensor, " images"]:  # noqa: ARG002
        mean = acts.mean(1, dtype=torch.promote_types(acts.dtype, torch.float32))
        return mean @ self.direction.unit > _level(self.direction, self.threshold)

    @property
    def device(self) -> torch.device:
        return self.direction.unit.device


def _level(direction: Direction, threshold: float) -> Tensor:
    assert direction.origin is not None, "checked when the gate was made"
    return direction.origin + threshold * direction.norm
