"""Make images from prompts, each from a seed of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import torch

from steerwright.arguments import (
    as_many,
    is_list,
    known_settings,
    negative_list,
    picture_settings,
    seed_list,
    text_list,
    whole,
)
from steerwright.errors import UserError
from steerwright.models.families import family_of
from steerwright.models.load import LoadedModel
from steerwright.models.schedule import timesteps


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
    """How images are made; what is left out is the model's own, or as said here.

    negative_prompt: "" (one text for all images, or one for each; it needs a guidance above 1, and FLUX takes none).
    batch_size: 8 images a call. steps, guidance: the model's own. height, width: pixels, multiples of 8, for FLUX of
    its tokens' (16); the model's own. edits: none.
    """

    negative_prompt: str | Sequence[str] | None
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
    when an image is not finite, for options that cannot be or would change nothing (a negative prompt without
    guidance), and where there is not one seed for each prompt.
    """
    images = [images for _, images in generate_batches(model, prompts, seeds, **options)]
    size = image_size(model, options.get("height"), options.get("width"))
    return np.concatenate(images) if images else np.zeros((0, *size, 3), np.uint8)


def generate_batches(
    model: LoadedModel, prompts: Sequence[str], seeds: Sequence[int], **options: Unpack[Options]
) -> Iterator[tuple[Batch, npt.NDArray[np.uint8]]]:
    """As `generate`, one batch after the other, so that a caller can keep each as soon as it is there."""
    known_settings(options, Options)
    prompts = [prompts] if isinstance(prompts, str) else prompts
    negatives = negative_list(options.get("negative_prompt"), len(prompts))
    asked: Options = {**options, "negative_prompt": negatives}
    size = options.get("batch_size", 8)
    picture_settings(batch_size=size)
    planned = list(batches(prompts, seeds, size))
    check_guidance(model, options.get("guidance"), negatives)

    def made() -> Iterator[tuple[Batch, npt.NDArray[np.uint8]]]:
        for batch in planned:
            # A call has a negative prompt or has none: SDXL takes zeros for none, which is not what "" is.
            for _, rows in groupby(range(batch.start, batch.stop), key=lambda row: bool(negatives[row])):
                start, *more = rows
                part = _part(batch, start, start + 1 + len(more))
                yield part, _to_uint8(run_pipeline(model, part, "np", **asked), part)

    return made()


def _part(batch: Batch, start: int, stop: int) -> Batch:
    rows = slice(start - batch.start, stop - batch.start)
    return Batch(start, stop, batch.prompts[rows], batch.seeds[rows])


def batches(prompts: Sequence[str], seeds: Sequence[int], size: int) -> Iterator[Batch]:
    """The (prompt, seed) pairs in portions of at most `size`. ArgumentError when there are not as many of both."""
    checked = seed_list(seeds) if not is_list(seeds) or len(seeds) else []
    prompts = text_list(prompts, blank=True) if len(prompts) else []
    as_many(checked, prompts)
    for start in range(0, len(prompts), size):
        stop = min(start + size, len(prompts))
        yield Batch(start, stop, tuple(prompts[start:stop]), tuple(checked[start:stop]))


def check_guidance(model: LoadedModel, guidance: float | None = None, negatives: Sequence[str] = ()) -> None:
    """Raise UserError for a guidance, or negative prompts, that `model` would take and then make nothing of.

    `guidance` None is the model's own.
    """
    name, scale = model.spec.name, model.spec.guidance if guidance is None else guidance
    if guidance is not None and guidance > 1 and not family_of(model.pipeline).takes_guidance(model.pipeline):
        raise UserError(f"guidance {guidance:g}: {name} was distilled to run without guidance; leave it out.")
    if not any(negatives):
        return
    if not family_of(model.pipeline).negative_prompts:
        raise UserError(f"{name} has its guidance embedded and takes no negative prompt; leave it out.")
    if not guided(model, guidance):
        raise UserError(
            f"guidance {scale:g}: there is no unconditional branch, so the negative prompt would change nothing; set a "
            "guidance above 1, or leave the negative prompt out."
        )


def guided(model: LoadedModel, guidance: float | None = None) -> bool:
    """Whether pictures with this guidance (None: the model's own) have an unconditional branch beside the prompt's."""
    scale = model.spec.guidance if guidance is None else guidance
    return scale > 1 and family_of(model.pipeline).has_branches(model.pipeline)


def run_pipeline(model: LoadedModel, batch: Batch, output: Literal["np", "latent"], **options: Unpack[Options]) -> Any:
    """One call of the pipeline: images float32 [n, height, width, 3] in [0, 1], or latents before the decoder.

    Latents are [n, channels, h, w], of FLUX its image tokens [n, tokens, channels]. `negative_prompt` is one text, or
    one for each row of all batches. Raises UserError for a negative prompt of a model that takes none, or without
    guidance, and for a size that it cannot make.
    """
    known_settings(options, Options)
    steps, guidance = options.get("steps"), options.get("guidance")
    picture_settings(steps=steps, guidance=guidance)
    height, width = image_size(model, options.get("height"), options.get("width"))
    given = options.get("negative_prompt")
    if given is not None and not isinstance(given, str):
        given = given[batch.start : batch.stop]
    negatives = negative_list(given, len(batch.prompts))
    check_guidance(model, guidance, negatives)
    edits = options.get("edits")
    asked = family_of(model.pipeline).call_arguments(model.pipeline, negatives)
    with torch.inference_mode(), _vae_restored(model.pipeline), edits(batch) if edits else nullcontext():
        return model.pipeline(
            prompt=list(batch.prompts),
            **asked,
            num_inference_steps=model.spec.steps if steps is None else steps,
            guidance_scale=model.spec.guidance if guidance is None else guidance,
            height=height,
            width=width,
            # On the CPU, so that a seed means the same noise on every device.
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seed_list(batch.seeds)],
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

    UserError for what is no number of pixels, and what FLUX would make another size of: its pictures are whole tokens.
    """
    family = family_of(model.pipeline)
    own = family.image_pixels(model.pipeline)
    rows = _pixels("height", height, model.spec.height or own[0])
    columns = _pixels("width", width, model.spec.width or own[1])
    side = family.pixels_per_token(model.pipeline)
    if family.rounds_sizes(model.pipeline) and (rows % side or columns % side):
        raise UserError(
            f"{model.spec.name} makes pictures whose sides are multiples of {side} pixels, not {columns}x{rows}."
        )
    picture_settings(height=height, width=width, smallest=8)
    return rows, columns


def _pixels(name: str, asked: int | None, usual: int) -> int:
    return usual if asked is None else whole(asked, name, 1, "give a number of pixels.")


def _to_uint8(images: npt.NDArray[np.float32], batch: Batch) -> npt.NDArray[np.uint8]:
    for prompt, seed, image in zip(batch.prompts, batch.seeds, images, strict=True):
        if not np.isfinite(image).all():
            raise UserError(
                f"The image of {prompt!r} with seed {seed} is not finite: an edit is too strong, or half precision "
                "overflowed; lower the strength, or set the model's dtype to float32."
            )
    return (images * 255).round().astype(np.uint8)


def model_timesteps(
    model: LoadedModel, steps: int | None = None, height: int | None = None, width: int | None = None
) -> tuple[float, ...]:
    """As `timesteps`, of a picture as `generate` makes it: what is left out is the model's own."""
    return timesteps(model.pipeline, steps or model.spec.steps, image_size(model, height, width))
