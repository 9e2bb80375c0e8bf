"""What latents do on pictures whose truth is known to the pixel: rendered scenes, brought to one denoising step.

A picture that the model made has labels but no masks. So scenes of the seasons world are rendered with the masks of
their objects, encoded, mixed with as much noise as the step has, and given to the model with a caption that says all of
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steerwright.activations.record import Capture, capture
from steerwright.errors import UserError
from steerwright.models.families.flux import Flux, text_length
from steerwright.models.generate import image_size, model_timesteps
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import LoadedModel
from steerwright.sae.sae import Sae
from steerwright.world.captions import full_caption
from steerwright.world.render import render_with_mask
from steerwright.world.scene import Scene

_AT_ONCE = 16


def scene_maps(
    model: LoadedModel, sae: Sae, step: int, scenes: Sequence[Scene], latents: Sequence[int], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Activations of `latents` on the scenes' tokens, float32 [scenes, latents, h, w], and the masks of their objects,
    bool [scenes, H, W].

    Scene i's noise comes from `seed` + i. UserError for a model that is no FLUX, or makes pictures of another size.
    """
    if not Flux().matches(model.pipeline):
        raise UserError("Rendered scenes are looked at through a FLUX model; set `scenes: 0` for others.")
    rendered = [render_with_mask(scene) for scene in scenes]
    pixels, masks = np.stack([image for image, _ in rendered]), np.stack([mask for _, mask in rendered])
    if image_size(model) != pixels.shape[1:3]:
        raise UserError(
            f"Scenes are {pixels.shape[1]} x {pixels.shape[2]} pixels, and {model.spec.name} makes pictures of "
            f"{image_size(model)}; set `scenes: 0`."
        )
    hookpoint = Hookpoint.parse(str(sae.site.hookpoint))
    sigma = model_timesteps(model)[step] / 1000
    grid = Flux().image_grid(model.pipeline, *image_size(model))
    wanted = torch.as_tensor(list(latents))
    out = np.zeros((len(scenes), len(latents), *grid), dtype=np.float32)
    for start in range(0, len(scenes), _AT_ONCE):
        some = range(start, min(start + _AT_ONCE, len(scenes)))
        seen: list[torch.Tensor] = []

        def keep(found: Capture, seen: list[torch.Tensor] = seen) -> None:
            if found.step is None or abs(found.step.sigma - sigma) > 1e-3:
                raise UserError(f"{model.spec.name} shifts its noise levels, which rendered scenes are not mixed for.")
            seen.append(found.tensor)

        noisy = _noisy(model, pixels[start : some.stop], sigma, [seed + number for number in some])
        with torch.inference_mode(), capture(model.pipeline, [hookpoint], keep):
            _run(model, noisy, sigma, [full_caption(scenes[number]) for number in some])
        found = sae.encode(seen[0].reshape(-1, sae.width)).dense()[:, wanted]
        maps = found.view(len(some), *grid, len(latents)).permute(0, 3, 1, 2)
        out[start : some.stop] = maps.float().cpu().numpy()
    return out, masks


def _noisy(model: LoadedModel, pixels: NDArray[np.uint8], sigma: float, seeds: Sequence[int]) -> torch.Tensor:
    """Packed latents of the pictures [n, tokens, channels] with the share `sigma` of noise: (1 - sigma) x + sigma e."""
    pipeline: Any = model.pipeline
    vae = pipeline.vae
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(model.device, vae.dtype).div(127.5).sub(1)
    with torch.inference_mode():
        clean = (vae.encode(images).latent_dist.mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
    noise = torch.stack(
        [torch.randn(clean.shape[1:], generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds]
    ).to(clean)
    mixed = (1 - sigma) * clean + sigma * noise
    return pipeline._pack_latents(mixed, *mixed.shape)


def _run(model: LoadedModel, noisy: torch.Tensor, sigma: float, captions: list[str]) -> None:
    """One forward of the transformer at `sigma`, with everything around it as the pipeline has it."""
    height, width = image_size(model)
    model.pipeline(
        prompt=captions, height=height, width=width, latents=noisy, sigmas=[sigma], num_inference_steps=1,
        guidance_scale=model.spec.guidance, max_sequence_length=text_length(model.pipeline),
        output_type="latent",
    )  # fmt: skip
