"""The embedded models' shapes: the published architectures, small."""

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
