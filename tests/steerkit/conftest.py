"""A pipeline of Stable Diffusion 2.1's shape with random weights and small widths, saved to disk and loaded by path."""

import json
from pathlib import Path
from typing import Any

import pytest

TEXT_LAYERS = 23
TEXT_WIDTH = 32


@pytest.fixture(scope="session")
def sd21_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 text layers, 77 tokens, padding with `!`, a UNet of four levels, PNDM; 64x64 pixels."""
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = tmp_path_factory.mktemp("sd21")
    tokenizer = _tokenizer(folder / "vocabulary")
    with torch.random.fork_rng():
        torch.manual_seed(21)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=TEXT_WIDTH,
                intermediate_size=64,
                num_hidden_layers=TEXT_LAYERS,
                num_attention_heads=2,
                max_position_embeddings=77,
                hidden_act="gelu",
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 16, 32, 32),
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            layers_per_block=2,
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=(2, 2, 4, 4),
            use_linear_projection=True,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=64,
        )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder / "pipeline")
    return folder / "pipeline"


@pytest.fixture(scope="session")
def sd21(sd21_folder: Path) -> Any:
    """The saved pipeline, loaded as steerkit loads any model: float32 on the CPU, 3 steps, guidance 4."""
    import torch

    from steerkit.models.load import load_model
    from steerkit.models.spec import ModelSpec

    spec = ModelSpec(name="tiny-sd-2.1", source=str(sd21_folder), dtype="float16", steps=3, guidance=4.0)
    return load_model(spec, device=torch.device("cpu"))


def _tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    letters = "!abcdefghijklmnopqrstuvwxyz"
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, pad_token="!")
