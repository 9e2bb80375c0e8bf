"""FLUX.1 dev and schnell: a transformer on text and image tokens, which takes the guidance as a number.

So there is one branch, and it carries the prompt. The transformer is given a thousandth of the timestep, rounded to the
model's precision. Its image tokens are two by two latents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from steerwright.models.families.family import Family, Step, two

if TYPE_CHECKING:
    from torch import Tensor


class Flux(Family):
    """FLUX.1; other pipelines with a transformer (SD3, PixArt) are not of this family."""

    name, root, noun = "flux", "transformer", "transformer"
    classes: ClassVar = {"FluxPipeline": {}}
    embedded = "seasons-flux"
    places: ClassVar = {"hidden_states": 0, "encoder_hidden_states": 1, "timestep": 3}
    negative_prompts = False

    def matches(self, pipeline: Any) -> bool:
        return super().matches(pipeline) and type(pipeline.transformer).__name__.startswith("Flux")

    def has_branches(self, pipeline: Any) -> bool:  # noqa: ARG002
        return False

    def takes_guidance(self, pipeline: Any) -> bool:
        # FLUX.1-schnell was distilled without it.
        return bool(pipeline.transformer.config.guidance_embeds)

    def token_counts(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int | None, int | None]:
        text, image = (self.argument(name, args, kwargs) for name in ("encoder_hidden_states", "hidden_states"))
        return None if text is None else text.shape[1], None if image is None else image.shape[1]

    def step(self, scheduler: Any, given: Tensor) -> Step:
        """The scheduler's own step, exact, although the transformer is told it in no more than its own precision."""
        import torch

        told = told_timesteps(torch.as_tensor(scheduler.timesteps), given.flatten()[:1]).tolist()
        value = float(given.flatten()[0])
        index = scheduler.step_index
        # In bfloat16 neighbouring steps may be told alike, so the scheduler's own count goes before any search. It
        # begins to count when the first step is done.
        index = scheduler.begin_index if index is None else index
        if index is None or index >= len(told) or told[index] != value:
            index = min(range(len(told)), key=lambda i: (abs(told[i] - value), i))
        timestep = float(scheduler.timesteps[index]) if told[index] == value else 1000 * value
        return Step(int(index), timestep, float(scheduler.sigmas[index]))

    def set_timesteps(self, pipeline: Any, scheduler: Any, steps: int, size: tuple[int, int] | None) -> None:
        """As FluxPipeline does it, with its own functions: more steps go to the noise of larger pictures."""
        import numpy as np
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift, retrieve_timesteps

        config = scheduler.config
        shift = calculate_shift(
            math.prod(self.image_grid(pipeline, *(size or self.image_pixels(pipeline)))),
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        sigmas = None if config.get("use_flow_sigmas") else np.linspace(1.0, 1 / steps, steps)
        retrieve_timesteps(scheduler, steps, "cpu", sigmas=sigmas, mu=shift)

    def image_pixels(self, pipeline: Any) -> tuple[int, int]:
        # The pipeline itself says 1024 whatever the model is.
        return two(pipeline.vae.config.sample_size)

    def pixels_per_token(self, pipeline: Any) -> int:
        return 2 * int(pipeline.vae_scale_factor)

    def rounds_sizes(self, pipeline: Any) -> bool:  # noqa: ARG002
        return True

    def call_arguments(self, pipeline: Any, negatives: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002
        return {"max_sequence_length": text_length(pipeline)}

    def own_arguments(self, pipeline: Any) -> dict[str, Any]:
        # The pipeline itself would make 1024 pixels of any model, and read as much text as T5 does.
        height, width = self.image_pixels(pipeline)
        return {"height": height, "width": width, "max_sequence_length": text_length(pipeline)}

    def dtype(self, wanted: str) -> tuple[str, str]:
        # https://github.com/huggingface/diffusers/pull/9097
        if wanted == "float16":
            return "bfloat16", "FLUX's activations overflow float16; write dtype: bfloat16"
        return wanted, ""


def text_length(pipeline: Any) -> int:
    """How many text tokens FLUX is given: what its second tokenizer has, at most 512, and 256 without guidance.

    FLUX.1-schnell, which takes no guidance, was distilled with 256.
    """
    most = 512 if pipeline.transformer.config.guidance_embeds else 256
    return min(int(pipeline.tokenizer_2.model_max_length), most)


def told_timesteps(timesteps: Tensor, given: Tensor) -> Tensor:
    """What FLUX's transformer is told at each of the scheduler's `timesteps`, in the precision of what it was `given`.

    The pipeline's own arithmetic, so that what comes out equal to `given` is its step, however few bits there are.
    """
    return timesteps.to(given.device, given.dtype) / 1000
