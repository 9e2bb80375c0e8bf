"""Pipelines of the block structure of real models, with random weights and a twentieth of their widths, on disk.

A block of 320 features in the real UNet has 16 here, one of 640 has 32, one of 1280 has 64; the text encoders have
their real numbers of layers where those are few. Latents are 8x8, pictures 64x64.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Load = Callable[..., Any]


@pytest.fixture(scope="session")
def shape_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a shape (sd-1.5, sd-2.1-v, sdxl, sd-turbo, sdxl-turbo), written when it is first asked for."""
    root = tmp_path_factory.mktemp("shapes")

    def folder(shape: str) -> Path:
        path = root / shape
        if not path.exists():
            with torch.random.fork_rng():
                torch.manual_seed(len(shape))
                pipeline = _build(shape, root / f"vocabulary-{shape}")
            # As initialised, what attention adds is lost beside what it is added to; in trained models it is not.
            for name, parameter in pipeline.unet.named_parameters():
                if ".attn2.to_out." in name:
                    parameter.data.mul_(5.0)
            pipeline.save_pretrained(path)
        return path

    return folder


@pytest.fixture(scope="session")
def shaped(shape_folder: Callable[[str], Path]) -> Load:
    """A shape as `load_model` loads it on the CPU; three steps and guidance 7.5, turbo one step and none."""
    from steerwright.models.load import load_model
    from steerwright.models.spec import ModelSpec

    loaded: dict[str, Any] = {}

    def load(shape: str) -> Any:
        if shape not in loaded:
            turbo = shape.endswith("turbo")
            steps, guidance = (1, 0.0) if turbo else (3, 7.5)
            spec = ModelSpec(
                name=shape, source=str(shape_folder(shape)), dtype="float16", steps=steps, guidance=guidance
            )
            loaded[shape] = load_model(spec, device=torch.device("cpu"))
        return loaded[shape]

    return load


def _build(shape: str, vocabulary: Path) -> Any:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    vocabulary.mkdir()
    parts = {"vae": _vae(force_upcast=shape.startswith("sdxl")), "scheduler": _scheduler(shape)}
    if shape.startswith("sdxl"):
        first, second = _tokenizer(vocabulary / "1", "<|endoftext|>"), _tokenizer(vocabulary / "2", "!")
        return StableDiffusionXLPipeline(
            text_encoder=_text_encoder(first, width=16, layers=12, activation="quick_gelu"),
            text_encoder_2=_text_encoder(second, width=24, layers=4, activation="gelu", projection=12),
            tokenizer=first,
            tokenizer_2=second,
            unet=_unet_xl(text_width=16 + 24, pooled=12),
            add_watermarker=False,
            **parts,
        )
    older = shape == "sd-1.5"
    tokenizer = _tokenizer(vocabulary / "1", "<|endoftext|>" if older else "!")
    return StableDiffusionPipeline(
        text_encoder=_text_encoder(
            tokenizer, width=32, layers=12 if older else 23, activation="quick_gelu" if older else "gelu"
        ),
        tokenizer=tokenizer,
        unet=_unet(older, text_width=32),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **parts,
    )


def _scheduler(shape: str) -> Any:
    import diffusers

    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    match shape:
        case "sd-1.5":
            return diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1, **noise)
        case "sd-2.1-v":
            return diffusers.DDIMScheduler(
                prediction_type="v_prediction", steps_offset=1, clip_sample=False, set_alpha_to_one=False, **noise
            )
        case "sdxl":
            return diffusers.EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1, **noise)
        case "sd-turbo":
            return diffusers.EulerDiscreteScheduler(timestep_spacing="trailing", steps_offset=1, **noise)
        case _:
            return diffusers.EulerAncestralDiscreteScheduler(timestep_spacing="trailing", steps_offset=1, **noise)


def _unet(older: bool, text_width: int) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 64, 64),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=2,
        cross_attention_dim=text_width,
        # 1.x has eight heads everywhere, 2.x heads of one size.
        attention_head_dim=8 if older else (2, 4, 8, 8),
        use_linear_projection=not older,
        norm_num_groups=8,
    )


def _unet_xl(text_width: int, pooled: int) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=[1, 2, 10],
        attention_head_dim=[2, 4, 8],
        cross_attention_dim=text_width,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=pooled + 6 * 8,
        use_linear_projection=True,
        norm_num_groups=8,
    )


def _vae(force_upcast: bool) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
        force_upcast=force_upcast,
    )


def _text_encoder(tokenizer: Any, width: int, layers: int, activation: str, projection: int | None = None) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=77,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **({} if projection is None else {"projection_dim": projection}),
    )
    return (CLIPTextModel if projection is None else CLIPTextModelWithProjection)(config)


def _tokenizer(folder: Path, padding: str) -> Any:
    from transformers import CLIPTokenizer

    letters = "!abcdefghijklmnopqrstuvwxyz"
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, pad_token=padding)
