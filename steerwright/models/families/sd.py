"""Stable Diffusion 1.x, 2.x, XL and Turbo: a UNet, on two branches with a guidance above 1."""

from __future__ import annotations

from typing import Any, ClassVar

from steerwright.models.families.family import Family, two


class StableDiffusion(Family):
    """The UNet is given the scheduler's timestep; pictures come in multiples of 8 pixels, its latents' side."""

    name, root, noun = "sd", "unet", "UNet"
    classes: ClassVar = {
        "StableDiffusionPipeline": {
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        },
        # The watermark is there only where a certain package is installed.
        "StableDiffusionXLPipeline": {"add_watermarker": False},
    }
    embedded = "seasons-sd"
    places: ClassVar = {"sample": 0, "timestep": 1, "encoder_hidden_states": 2}

    def has_branches(self, pipeline: Any) -> bool:
        # A UNet that is told the guidance as a number (latent consistency models) has one branch.
        return getattr(getattr(pipeline.unet, "config", None), "time_cond_proj_dim", None) is None

    def image_pixels(self, pipeline: Any) -> tuple[int, int]:
        rows, columns = two(pipeline.unet.config.sample_size)
        scale = pipeline.vae_scale_factor
        return rows * scale, columns * scale
