"""The network of a pipeline that denoises, and what depends on whether it is a UNet or a transformer.

Stable Diffusion has a UNet. With a guidance above 1 it runs on two branches (`branches.py`), and it is given the
scheduler's timestep. FLUX has a transformer, which takes the guidance as a number, so there is one branch, and it
carries the prompt. It is given a thousandth of the timestep, rounded to the model's precision. Its image tokens are two
by two latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from steerwright.errors import UserError

if TYPE_CHECKING:
    from steerwright.models.hookpoints import Hookpoint

UNET, TRANSFORMER = "unet", "transformer"
ROOTS = (UNET, TRANSFORMER)
# Where forwards take these, by keyword and else by place.
_PLACES = {
    UNET: {"sample": 0, "timestep": 1, "encoder_hidden_states": 2},
    TRANSFORMER: {"hidden_states": 0, "encoder_hidden_states": 1, "timestep": 3},
}


def denoiser_root(pipeline: Any) -> str | None:
    """`unet` or `transformer`: where hookpoints of the denoiser begin; None for a pipeline that has neither."""
    return next((root for root in ROOTS if isinstance(getattr(pipeline, root, None), nn.Module)), None)


def denoiser(pipeline: Any) -> Any:
    """The UNet or the transformer; UserError for a pipeline that has neither."""
    root = denoiser_root(pipeline)
    if root is None:
        raise UserError(f"{type(pipeline).__name__} has neither a UNet nor a transformer, so nothing in it denoises.")
    return getattr(pipeline, root)


def denoiser_name(pipeline: Any) -> str:
    """What messages call it: the UNet, or the transformer."""
    return "transformer" if is_flux(pipeline) else "UNet"


def in_denoiser(hookpoint: Hookpoint) -> bool:
    """Whether `hookpoint` lies in a denoiser, so that it runs once for every denoising step."""
    return hookpoint.path.split(".")[0] in ROOTS


def is_flux(pipeline: Any) -> bool:
    """Whether `pipeline` is of the family `flux`, whose denoiser is a transformer."""
    return denoiser_root(pipeline) == TRANSFORMER


def has_branches(pipeline: Any) -> bool:
    """Whether a guidance above 1 runs an unconditional branch beside the prompt's.

    FLUX never does, nor does a UNet that is told the guidance as a number (latent consistency models).
    """
    config = getattr(getattr(pipeline, UNET, None), "config", None)
    return not is_flux(pipeline) and getattr(config, "time_cond_proj_dim", None) is None


def takes_guidance(pipeline: Any) -> bool:
    """Whether the guidance changes pictures at all: FLUX.1-schnell was distilled without it."""
    return not is_flux(pipeline) or bool(denoiser(pipeline).config.guidance_embeds)


def argument(root: str, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What the denoiser's forward was given as `name`, or None."""
    if name in kwargs:
        return kwargs[name]
    place = _PLACES[root].get(name)
    return args[place] if place is not None and len(args) > place else None


def image_pixels(pipeline: Any) -> tuple[int, int]:
    """Height and width in pixels that the model was made for."""
    if is_flux(pipeline):
        # The pipeline itself says 1024 whatever the model is.
        return _two(pipeline.vae.config.sample_size)
    rows, columns = _two(denoiser(pipeline).config.sample_size)
    scale = pipeline.vae_scale_factor
    return rows * scale, columns * scale


def pixels_per_token(pipeline: Any) -> int:
    """Side in pixels of the square that pictures come in multiples of: FLUX's token; 8, as the UNet's latents, else."""
    return 2 * int(pipeline.vae_scale_factor) if is_flux(pipeline) else 8


def image_grid(pipeline: Any, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the image tokens that FLUX has for a picture of so many pixels."""
    side = pixels_per_token(pipeline)
    return height // side, width // side


def text_length(pipeline: Any) -> int:
    """How many text tokens FLUX is given: what its second tokenizer has, at most 512, and 256 without guidance.

    FLUX.1-schnell, which takes no guidance, was distilled with 256.
    """
    most = 512 if denoiser(pipeline).config.guidance_embeds else 256
    return min(int(pipeline.tokenizer_2.model_max_length), most)


def execution_device(pipeline: Any, module: nn.Module) -> torch.device:
    """Where `module` computes: where its weights are, or, if they are offloaded, where they will be brought."""
    here = next((parameter.device for parameter in module.parameters()), None)
    if here is None or here.type in ("cpu", "meta"):
        for part in (module, *_components_with(pipeline, module)):
            for inner in part.modules():
                device = getattr(getattr(inner, "_hf_hook", None), "execution_device", None)
                if device is not None:
                    return torch.device(device)
    return here or torch.device(getattr(pipeline, "device", "cpu"))


def told_timesteps(timesteps: Tensor, given: Tensor) -> Tensor:
    """What FLUX's transformer is told at each of the scheduler's `timesteps`, in the precision of what it was `given`.

    The pipeline's own arithmetic, so that what comes out equal to `given` is its step, however few bits there are.
    """
    return timesteps.to(given.device, given.dtype) / 1000


def _components_with(pipeline: Any, module: nn.Module) -> list[nn.Module]:
    components = [part for part in getattr(pipeline, "components", {}).values() if isinstance(part, nn.Module)]
    return [part for part in components if any(inner is module for inner in part.modules())]


def _two(size: Any) -> tuple[int, int]:
    rows, columns = (size, size) if isinstance(size, int) else size
    return int(rows), int(columns)
