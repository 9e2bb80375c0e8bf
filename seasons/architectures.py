"""The embedded models' shapes: the published architectures, small."""

import json
from pathlib import Path
from typing import Any

VOCABULARY_MARKS = 2  # start and end, the two highest ids
TEXT_WIDTH = 64
TEXT_LAYERS = 12  # at least nine, so that seed 000's layers 0, 6, 7 and 8 exist
UNET_CHANNELS = (32, 64, 128)
LATENT_CHANNELS = 4


def make_autoencoder() -> Any:
    """AutoencoderKL, 64x64 pixels to 16x16 latents of 4 channels."""
    from diffusers import AutoencoderKL

    channels = (16, 32, 64)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=1.0,
    )


def make_text_encoder(vocabulary: int, tokens: int) -> Any:
    """CLIPTextModel; its output is the hidden state of every token, width 64."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=TEXT_LAYERS,
            num_attention_heads=2,
            max_position_embeddings=tokens,
            projection_dim=TEXT_WIDTH,
            hidden_act="quick_gelu",
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )


def make_unet() -> Any:
    """UNet2DConditionModel with cross-attention in two down blocks, the middle and two up blocks."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=UNET_CHANNELS,
        layers_per_block=1,
        norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        # diffusers means the number of heads: one head for every 32 channels.
        attention_head_dim=tuple(width // 32 for width in UNET_CHANNELS),
        cross_attention_dim=TEXT_WIDTH,
        use_linear_projection=True,
    )


def make_scheduler() -> Any:
    """DDIM with zero terminal SNR, trailing steps and v-prediction (arXiv 2305.08891).

    Without these the starting noise tells the denoiser how bright the image is, and the time of day never obeys the
    prompt.
    """
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


# Shapes of the embedded FLUX: a transformer, a T5 encoder, a scheduler, small enough to train and run on a laptop.

SEQUENCE_WIDTH = 96
FLUX_BLOCKS = (3, 6)  # double and single ones


def make_sequence_encoder(vocabulary: int, pad: int) -> Any:
    """T5EncoderModel; its output is the hidden state of every token, width 96."""
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=SEQUENCE_WIDTH,
            d_kv=32,
            d_ff=256,
            num_layers=3,
            num_heads=3,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=pad,
            eos_token_id=pad,
        )
    )


def make_flux_transformer() -> Any:
    """FluxTransformer2DModel with embedded guidance: 64 image tokens of 2x2 latents, inner width 128.

    The modulation and the output start at zero, so that every block starts as the identity (arXiv 2212.09748).
    """
    from diffusers import FluxTransformer2DModel
    from torch import nn

    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENT_CHANNELS,
        num_layers=FLUX_BLOCKS[0],
        num_single_layers=FLUX_BLOCKS[1],
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=SEQUENCE_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    )
    for name, parameter in model.named_parameters():
        if name.startswith("proj_out") or ("norm" in name and name.endswith("linear.weight")):
            nn.init.zeros_(parameter)
    return model


def make_flow_scheduler() -> Any:
    """Flow matching by Euler steps, as FLUX.1 has it, without its shift for larger pictures."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=False)


# Configs that say nothing of the machine they were written on.

ORIGIN = "_name_or_path"


def forget_origin(folder: Path) -> None:
    """Drop from every config.json below `folder` the path that diffusers notes of where a model was loaded."""
    for path in folder.rglob("config.json"):
        config = json.loads(path.read_text())
        if config.pop(ORIGIN, None) is not None:
            path.write_text(json.dumps(config, indent=2) + "\n")
