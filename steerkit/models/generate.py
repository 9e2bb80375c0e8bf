"""Make images from prompts, each from a seed of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from steerkit.errors import UserError
from steerkit.models.load import LoadedModel


@dataclass(frozen=True, slots=True)
class Batch:
    """The images that one pipeline call makes: rows `start` to `stop` of the caller's prompts and seeds."""

    start: int
    stop: int
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]


Edits = Callable[[Batch], AbstractContextManager[Any]]
"""Called once per batch; what it gives is entered around the pipeline call: `lambda batch: steer(model, ...)`."""


def generate(
    model: LoadedModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    negative_prompt: str = "",
    batch_size: int = 8,
    steps: int | None = None,
    guidance: float | None = None,
    edits: Edits | None = None,
) -> npt.NDArray[np.uint8]:
    """One image per (prompt, seed), uint8 [n, height, width, 3].

    Image i starts from noise of `seeds[i]` alone, so it does not depend on its batch beyond float rounding. `steps` and
    `guidance` default to the model's own. UserError when an image is not finite.
    """
    batches = generate_batches(
        model,
        prompts,
        seeds,
        negative_prompt=negative_prompt,
        batch_size=batch_size,
        steps=steps,
        guidance=guidance,
        edits=edits,
    )
    images = [images for _, images in batches]
    return np.concatenate(images) if images else np.zeros((0, *image_size(model), 3), np.uint8)


def generate_batches(
    model: LoadedModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    negative_prompt: str = "",
    batch_size: int = 8,
    steps: int | None = None,
    guidance: float | None = None,
    edits: Edits | None = None,
) -> Iterator[tuple[Batch, npt.NDArray[np.uint8]]]:
    """As `generate`, one batch after the other, so that a caller can keep each as soon as it is there."""
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds: give one seed for each prompt")
    height, width = image_size(model)
    for start in range(0, len(prompts), batch_size):
        stop = min(start + batch_size, len(prompts))
        batch = Batch(start, stop, tuple(prompts[start:stop]), tuple(int(seed) for seed in seeds[start:stop]))
        with torch.inference_mode(), edits(batch) if edits else nullcontext():
            images = model.pipeline(
                prompt=list(batch.prompts),
                negative_prompt=[negative_prompt] * len(batch.prompts),
                num_inference_steps=steps or model.spec.steps,
                guidance_scale=model.spec.guidance if guidance is None else guidance,
                height=height,
                width=width,
                # On the CPU, so that a seed means the same noise on every device.
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in batch.seeds],
                output_type="np",
            ).images
        yield batch, _to_uint8(images, batch)


def image_size(model: LoadedModel) -> tuple[int, int]:
    """Height and width in pixels that `generate` makes."""
    pipeline, spec = model.pipeline, model.spec
    size = pipeline.unet.config.sample_size
    rows, columns = (size, size) if isinstance(size, int) else size
    scale = pipeline.vae_scale_factor
    return spec.height or rows * scale, spec.width or columns * scale


def _to_uint8(images: npt.NDArray[np.float32], batch: Batch) -> npt.NDArray[np.uint8]:
    for prompt, seed, image in zip(batch.prompts, batch.seeds, images, strict=True):
        if not np.isfinite(image).all():
            raise UserError(
                f"The image of {prompt!r} with seed {seed} is not finite: an edit is too strong, or half precision "
                "overflowed; lower the strength, or set the model's dtype to float32."
            )
    return (images * 255).round().astype(np.uint8)
