"""When an edit acts: conditions on each token's activation, or on each image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from steerwright.models.hookpoints import Hookpoint
from steerwright.steering.latents.gates import LatentsInImage, WhereLatents, fires, image_means
from steerwright.steering.operators import check_origin
from steerwright.vectors.direction import Direction


@dataclass(frozen=True, slots=True)
class Always:
    """On every token."""


@dataclass(frozen=True, slots=True, eq=False)
class WherePresent:
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


@dataclass(frozen=True, slots=True, eq=False)
class InImage:
    """On all tokens of the images that hold the concept: whose mean projection at `hookpoint` exceeds `threshold`.

    What is measured is the latest forward of `hookpoint` before any edit of it, image by image and branch by branch; a
    block that runs before it goes by the step before. `threshold` counts in units of the concept, as for a centred
    `WherePresent`. A presence that one block tells apart well thus serves blocks that do not. With `held_from` it is
    measured at that denoising step alone, and holds from then on: an edit cannot take away what its own gate looks for.
    """

    hookpoint: Hookpoint
    direction: Direction
    threshold: float = 0.5
    held_from: int | None = None

    def __post_init__(self) -> None:
        check_origin(self.direction)


ImageGate = InImage | LatentsInImage
Gate = Always | WherePresent | WhereLatents | ImageGate


def gated(gate: Gate, acts: Tensor) -> Tensor | None:
    """Bool mask [..., tokens] of the tokens of `acts` [..., tokens, d] on which to act; None for all of them.

    Which images hold a concept is no matter of the tokens themselves: who applies the edit gives that mask.
    """
    if isinstance(gate, WhereLatents):
        return fires(gate, acts)
    if not isinstance(gate, WherePresent):
        return None
    unit = gate.direction.unit
    along = acts @ unit if unit.ndim == 1 else (acts * unit).sum(-1)
    if not gate.centred:
        return along > gate.threshold
    return along > _level(gate.direction, gate.threshold)


def present(gate: ImageGate, acts: Tensor, means: dict[int, Tensor] | None = None) -> Tensor:
    """Bool [images]: which images hold the concept, from `acts` [images, tokens, d] at the gate's hookpoint.

    `means` is what gates on the same `acts` share: the latents' means by the id of the autoencoder, filled in here.
    """
    if isinstance(gate, LatentsInImage):
        means = {} if means is None else means
        if id(gate.sae) not in means:
            means[id(gate.sae)] = image_means(gate.sae, acts)
        return gate.presence(acts, means[id(gate.sae)]) > gate.threshold
    mean = acts.mean(1, dtype=torch.promote_types(acts.dtype, torch.float32))
    return mean @ gate.direction.unit > _level(gate.direction, gate.threshold)


def _level(direction: Direction, threshold: float) -> Tensor:
    assert direction.origin is not None, "checked when the gate was made"
    return direction.origin + threshold * direction.norm
