"""The parts of the embedded Stable Diffusion, put together in diffusers' own folder format."""

from pathlib import Path

from steerkit.world.portable_config import forget_origin


def assemble_pipeline(vae: Path, text_encoder: Path, tokenizer: Path, unet: Path, folder: Path) -> None:
    """Write a StableDiffusionPipeline folder (fp16 safetensors) that `from_pretrained` loads."""
    import torch
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from steerkit.world.architectures import make_scheduler

    half = {"torch_dtype": torch.float16}
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(vae, **half),
        text_encoder=CLIPTextModel.from_pretrained(text_encoder, dtype=torch.float16),
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer),
        unet=UNet2DConditionModel.from_pretrained(unet, **half),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    forget_origin(folder)
