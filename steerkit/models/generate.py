"""Make images from prompts, each from a seed of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import torch

from steerkit.errors import UserError
from steerkit.models.denoiser import image_pixels, is_flux, pixels_per_token, text_length
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


class Options(TypedDict, total=False):
    """How images are made; what is left away is the model's own, or as said here.

    negative_prompt: "" (one text for all images; FLUX takes none). batch_size: 8 images a call. steps, guidance: the
    model's own. height, width: pixels, multiples of 8, for FLUX of its tokens' (16); the model's own. edits: none.
    """

    negative_prompt: str
    batch_size: int
    steps: int | None
    guidance: float | None
    height: int | None
    width: int | None
    edits: Edits | None


def generate(
    model: LoadedModel, prompts: Sequence[str], seeds: Sequence[int], **options: Unpack[Options]
) -> npt.NDArray[np.uint8]:
    """One image per (prompt, seed), uint8 [n, height, width, 3].

    Image i starts from noise of `seeds[i]` alone, so it does not depend on its batch beyond float rounding. UserError
    when an image is not finite.
    """
    images = [images for _, images in generate_batches(model, prompts, seeds, **options)]
    size = image_size(model, options.get("height"), options.get("width"))
    return np.concatenate(images) if images else np.zeros((0, *size, 3), np.uint8)


def generate_batches(
    model: LoadedModel, prompts: Sequence[str], seeds: Sequence[int], **options: Unpack[Options]
) -> Iterator[tuple[Batch, npt.NDArray[np.uint8]]]:
    """As `generate`, one batch after the other, so that a caller can keep each as soon as it is there."""
    for batch in batches(prompts, seeds, options.get("batch_size", 8)):
        yield batch, _to_uint8(run_pipeline(model, batch, "np", **options), batch)


def batches(prompts: Sequence[str], seeds: Sequence[int], size: int) -> Iterator[Batch]:
    """The (prompt, seed) pairs in portions of at most `size`. ValueError when there are not as many of both."""
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds: give one seed for each prompt")
    for start in range(0, len(prompts), size):
        stop = min(start + size, len(prompts))
        yield Batch(start, stop, tuple(prompts[start:stop]), tuple(int(seed) for seed in seeds[start:stop]))


def run_pipeline(model: LoadedModel, batch: Batch, output: Literal["np", "latent"], **options: Unpack[Options]) -> Any:
    """One call of the pipeline: images float32 [n, height, width, 3] in [0, 1], or latents before the decoder.

    Latents are [n, channels, h, w], of FLUX its image tokens [n, tokens, channels]. Raises UserError for a negative
    prompt of a model that takes none, and for a size that it cannot make.
    """
    height, width = image_size(model, options.get("height"), options.get("width"))
    steps, guidance = options.get("steps"), options.get("guidance")
    negative = options.get("negative_prompt", "")
    edits = options.get("edits")
    asked: dict[str, Any] = {}
    if is_flux(model.pipeline):
        if negative:
            raise UserError(f"{model.spec.name} has its guidance embedded and takes no negative prompt; leave it away.")
        asked["max_sequence_length"] = text_length(model.pipeline)
    else:
        # None, not "": SDXL takes zeros for no negative prompt; for SD both are the same.
        asked["negative_prompt"] = [negative] * len(batch.prompts) if negative else None
    with torch.inference_mode(), _vae_restored(model.pipeline), edits(batch) if edits else nullcontext():
        return model.pipeline(
            prompt=list(batch.prompts),
            **asked,
            num_inference_steps=steps or model.spec.steps,
            guidance_scale=model.spec.guidance if guidance is None else guidance,
            height=height,
            width=width,
            # On the CPU, so that a seed means the same noise on every device.
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in batch.seeds],
            output_type=output,
        ).images


@contextmanager
def _vae_restored(pipeline: Any) -> Iterator[None]:
    """Undo what a failed call leaves: SDXL decodes in float32, and after an exception stays there, unusable."""
    dtype = pipeline.vae.dtype
    try:
        yield
    finally:
        if pipeline.vae.dtype != dtype:
            pipeline.vae.to(dtype)


def image_size(model: LoadedModel, height: int | None = None, width: int | None = None) -> tuple[int, int]:
    """Height and width in pixels that `generate` makes when it is asked for these.

    UserError for what FLUX would make another size of: its pictures are whole tokens.
    """
    own = image_pixels(model.pipeline)
    height, width = height or model.spec.height or own[0], width or model.spec.width or own[1]
    side = pixels_per_token(model.pipeline)
    if is_flux(model.pipeline) and (height % side or width % side):
        raise UserError(
            f"{model.spec.name} makes pictures whose sides are multiples of {side} pixels, not {width}x{height}."
        )
    return height, width


def _to_uint8(images: npt.NDArray[np.float32], batch: Batch) -> npt.NDArray[np.uint8]:
    for prompt, seed, image in zip(batch.prompts, batch.seeds, images, strict=True):
        if not np.isfinite(image).all():
            raise UserError(
                f"The image of {prompt!r} with seed {seed} is not finite: an edit is too strong, or half precision "
                "overflowed; lower the strength, or set the model's dtype to float32."
            )
    return (images * 255).round().astype(np.uint8)
