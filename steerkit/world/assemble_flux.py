"""The parts of the embedded FLUX, put together in diffusers' own folder format."""

from pathlib import Path

from steerkit.world.portable_config import forget_origin


def assemble_flux(
    vae: Path, text_encoder: Path, sequence_encoder: Path, tokenizer: Path, transformer: Path, folder: Path
) -> None:
    """Write a FluxPipeline folder (fp16 safetensors) that `from_pretrained` loads."""
    import torch
    from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel

    from steerkit.world.flux_architectures import make_flow_scheduler

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
