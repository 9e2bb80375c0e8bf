"""The parts of the embedded Stable Diffusion, put together in diffusers' own folder format."""

from pathlib import Path

from seasons.architectures import forget_origin


def assemble_pipeline(vae: Path, text_encoder: Path, tokenizer: Path, unet: Path, folder: Path) -> None:
    """Write a StableDiffusionPipeline folder (fp16 safetensors) that `from_pretrained` loads."""
    import torch
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from seasons.architectures import make_scheduler

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


# The parts of the embedded FLUX, put together in diffusers' own folder format.


def assemble_flux(
    vae: Path, text_encoder: Path, sequence_encoder: Path, tokenizer: Path, transformer: Path, folder: Path
) -> None:
    """Write a FluxPipeline folder (fp16 safetensors) that `from_pretrained` loads."""
    import torch
    from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel

    from seasons.architectures import make_flow_scheduler

    half = {"torch_dtype": torch.float16}
    autoencoder = AutoencoderKL.from_pretrained(vae, **half)
    # FLUX shifts its latents, and Stable Diffusion does not: its config says nothing of it.
    autoencoder.register_to_config(shift_factor=0.0)
    pipeline = FluxPipeline(
        scheduler=make_flow_scheduler(),
        vae=autoencoder,
        text_encoder=CLIPTextModel.from_pretrained(text_encoder, dtype=torch.float16),
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer),
        text_encoder_2=T5EncoderModel.from_pretrained(sequence_encoder, dtype=torch.float16),
        tokenizer_2=CLIPTokenizer.from_pretrained(tokenizer),
        transformer=FluxTransformer2DModel.from_pretrained(transformer, **half),
    )
    pipeline.save_pretrained(folder)
    forget_origin(folder)
