"""Shapes of the embedded FLUX: a transformer, a T5 encoder, a scheduler, small enough to train and run on a laptop."""

from typing import Any

from steerkit.world.architectures import LATENT_CHANNELS, TEXT_WIDTH

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
