"""The seasons world's autoencoder."""

import logging
import shutil
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from seasons.architectures import forget_origin, make_autoencoder
from seasons.render import render_all
from seasons.scene import sample_scenes
from seasons.training import Draws, Schedule, fit, to_unit_range
from steerwright.dag import Out, Param


def train_autoencoder(
    scenes: Annotated[int, Param()],
    encoder_steps: Annotated[int, Param()],
    decoder_steps: Annotated[int, Param()],
    vae: Annotated[Path, Out("seasons-vae", cache=False, resume=True)],
) -> None:
    """Train the autoencoder: both halves together, then the decoder alone."""
    work = vae / ".work"
    first = work / "encoder"
    if not first.exists():
        partial = work / "encoder.partial"
        train_encoder(partial, work, encoder_steps, scenes)
        partial.rename(first)
    train_decoder(first, vae, work, decoder_steps, scenes)
    shutil.rmtree(work)


# The autoencoder, in two phases: both halves together, then the decoder alone on the finished encoder.
#
# A denoiser needs the encoder only. Freezing it early lets the denoiser train while the decoder sharpens, and lets
# the decoder be trained further at any time without touching a denoiser.

log = logging.getLogger(__name__)

TRAIN_SEED, SCENES_SEED, HELD_OUT_SEED = 11, 100, 900
BATCH = 16
KL_WEIGHT = 2e-6


def train_encoder(folder: Path, work: Path, steps: int, scenes: int) -> None:
    """Phase one: encoder and decoder; writes an AutoencoderKL folder whose latents have unit variance."""
    torch.manual_seed(TRAIN_SEED)
    pixels = render_all(sample_scenes(scenes, SCENES_SEED))
    vae = make_autoencoder().to(memory_format=torch.channels_last)

    def loss_at(step: int) -> Tensor:
        draws = Draws.at(TRAIN_SEED, step)
        x = to_unit_range(pixels[draws.numpy.integers(len(pixels), size=BATCH)])
        posterior = vae.encode(x).latent_dist
        z = posterior.mean + posterior.std * draws.normal(*posterior.mean.shape)
        return reconstruction_loss(vae.decode(z).sample, x) + KL_WEIGHT * posterior.kl().mean()

    fit(vae, loss_at, Schedule(steps, 2e-3, 100, steps // 3), work / "encoder.pt", weight_decay=1e-4)
    vae.eval()
    with torch.no_grad():
        held_out = to_unit_range(render_all(sample_scenes(256, HELD_OUT_SEED)))
        latents = torch.cat([vae.encode(x).latent_dist.mode() for x in held_out.split(64)])
    vae.register_to_config(scaling_factor=1 / latents.std().item())
    log.info("held-out PSNR %.2f dB, latent std %.4f", psnr(vae, held_out), latents.std().item())
    vae.half().save_pretrained(folder)
    forget_origin(folder)


def train_decoder(start: Path, folder: Path, work: Path, steps: int, scenes: int) -> None:
    """Phase two: the decoder on the frozen encoder's latents; writes the finished AutoencoderKL folder."""
    from diffusers import AutoencoderKL

    torch.manual_seed(TRAIN_SEED + 1)
    pixels = render_all(sample_scenes(scenes, SCENES_SEED))
    vae = AutoencoderKL.from_pretrained(start).float().to(memory_format=torch.channels_last)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)

    def loss_at(step: int) -> Tensor:
        draws = Draws.at(TRAIN_SEED + 1, step)
        x = to_unit_range(pixels[draws.numpy.integers(len(pixels), size=BATCH)])
        with torch.no_grad():
            posterior = vae.encode(x).latent_dist
            # Denoisers do not land exactly on the encoder's latents: a little noise teaches the decoder to forgive.
            z = posterior.mean + (posterior.std**2 + 0.05**2).sqrt() * draws.normal(*posterior.mean.shape)
        return reconstruction_loss(vae.decode(z).sample, x)

    schedule = Schedule(steps, 1.5e-3, 100, steps // 2)
    fit(vae, loss_at, schedule, work / "decoder.pt", weight_decay=1e-4)
    vae.eval().requires_grad_(True)
    held_out = to_unit_range(render_all(sample_scenes(256, HELD_OUT_SEED)))
    log.info("held-out PSNR %.2f dB", psnr(vae, held_out))
    vae.half().save_pretrained(folder)
    forget_origin(folder)


def reconstruction_loss(y: Tensor, x: Tensor) -> Tensor:
    """Mean absolute plus mean squared error, pixels in [-1, 1]."""
    return (y - x).abs().mean() + (y - x).pow(2).mean()


@torch.no_grad()
def psnr(vae: torch.nn.Module, pixels: Tensor) -> float:
    """Mean over images of the peak signal-to-noise ratio in dB; pixels [N, 3, H, W] in [-1, 1]."""
    ratios = []
    for x in pixels.split(64):
        y = vae.decode(vae.encode(x).latent_dist.mode()).sample.clamp(-1, 1)  # type: ignore[operator]
        ratios.append(10 * torch.log10(4 / (y - x).pow(2).mean((1, 2, 3))))
    return float(torch.cat(ratios).mean().item())
