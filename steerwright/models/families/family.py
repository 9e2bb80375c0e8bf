"""What a family of pipelines is to everything else: its denoiser, its branches, its steps, its tokens and sizes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Step:
    """A denoising step: its place in the schedule, the model's timestep, the noise level (infinite at zero SNR)."""

    index: int
    timestep: float
    sigma: float


class Family(ABC):
    """A family; it holds no state, every method is given the pipeline. What stands here is what most families do."""

    name: ClassVar[str]
    """As `family` in params.yaml."""
    root: ClassVar[str]
    """The pipeline's attribute that denoises, where hookpoints of the denoiser begin."""
    noun: ClassVar[str]
    """What messages call the denoiser."""
    classes: ClassVar[Mapping[str, Mapping[str, Any]]]
    """Pipeline classes of diffusers by name, with what to load them without: judges and watermarks change pictures."""
    embedded: ClassVar[str]
    """The embedded model that messages offer instead."""
    places: ClassVar[Mapping[str, int]]
    """Where the denoiser's forward takes `timestep` and its other inputs, if not by keyword."""
    negative_prompts: ClassVar[bool] = True

    def matches(self, pipeline: Any) -> bool:
        """Whether `pipeline` is of this family."""
        return is_module(getattr(pipeline, self.root, None))

    def has_branches(self, pipeline: Any) -> bool:  # noqa: ARG002
        """Whether a guidance above 1 runs an unconditional branch beside the prompt's, as the batch [uncond, cond]."""
        return True

    def takes_guidance(self, pipeline: Any) -> bool:  # noqa: ARG002
        """Whether the guidance changes pictures at all."""
        return True

    def argument(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What the denoiser's forward was given as `name`, or None."""
        if name in kwargs:
            return kwargs[name]
        place = self.places.get(name)
        return args[place] if place is not None and len(args) > place else None

    def token_counts(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int | None, int | None]:  # noqa: ARG002
        """Text and image tokens that the denoiser's forward runs on; None for a UNet, which has none."""
        return None, None

    def step(self, scheduler: Any, given: Any) -> Step:
        """The scheduler's own step, from the timestep that the denoiser was given."""
        value = float(given.flatten()[0]) if hasattr(given, "flatten") else float(given)
        timesteps = listed(scheduler.timesteps)
        # PNDM, which visits a timestep twice, calls its place in the schedule `counter`.
        index = getattr(scheduler, "step_index", getattr(scheduler, "counter", None))
        if index is None or index >= len(timesteps) or timesteps[index] != value:
            # Schedulers without an index of their own (DDIM), and those that were not begun.
            index = min(range(len(timesteps)), key=lambda i: (abs(timesteps[i] - value), i))
        return Step(int(index), value, _sigma(scheduler, int(index), value))

    def set_timesteps(self, pipeline: Any, scheduler: Any, steps: int, size: tuple[int, int] | None) -> None:  # noqa: ARG002
        """Prepare `scheduler` for a call with `steps` steps and pictures of `size` pixels, as the pipeline does."""
        scheduler.set_timesteps(steps)

    @abstractmethod
    def image_pixels(self, pipeline: Any) -> tuple[int, int]:
        """Height and width in pixels that the model was made for."""

    def pixels_per_token(self, pipeline: Any) -> int:  # noqa: ARG002
        """Side in pixels of the square that pictures come in multiples of."""
        return 8

    def image_grid(self, pipeline: Any, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the image tokens of a picture of so many pixels."""
        side = self.pixels_per_token(pipeline)
        return height // side, width // side

    def rounds_sizes(self, pipeline: Any) -> bool:  # noqa: ARG002
        """Whether the pipeline makes another size of one that is no multiple of its tokens, without a word."""
        return False

    def call_arguments(self, pipeline: Any, negatives: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002
        """What a call of the pipeline is given beside prompt, steps, guidance, size and noise."""
        # None, not "": SDXL takes zeros for no negative prompt; for SD both are the same.
        return {"negative_prompt": list(negatives) if any(negatives) else None}

    def own_arguments(self, pipeline: Any) -> dict[str, Any]:  # noqa: ARG002
        """What a call needs to be told for the pipeline to do what the model was made for."""
        return {}

    def dtype(self, wanted: str) -> tuple[str, str]:
        """The precision that a model runs in which is asked for as `wanted`, and why where it is another one."""
        return wanted, ""


def is_module(found: Any) -> bool:
    """Whether `found` is a network."""
    from torch import nn

    return isinstance(found, nn.Module)


def listed(timesteps: Any) -> list[float]:
    """A scheduler's timesteps, read at once: on a GPU every single number would wait for the device."""
    import torch

    return [float(timestep) for timestep in torch.as_tensor(timesteps).tolist()]


def two(size: Any) -> tuple[int, int]:
    """Rows and columns of a size that may be one number."""
    rows, columns = (size, size) if isinstance(size, int) else size
    return int(rows), int(columns)


def _sigma(scheduler: Any, index: int, timestep: float) -> float:
    sigmas: Tensor | None = getattr(scheduler, "sigmas", None)
    if sigmas is not None:
        return float(sigmas[index])
    alpha = float(scheduler.alphas_cumprod[round(timestep)])
    return math.sqrt((1 - alpha) / alpha) if alpha > 0 else math.inf
