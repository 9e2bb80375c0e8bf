"""The denoiser: a UNet on the frozen encoder's latents and the frozen text encoder's hidden states.

v-prediction with zero terminal SNR and uniform weights over the timesteps (arXiv 2305.08891): weights that vanish at
high noise leave the brightness of the image, and so the time of day, to the starting noise.
"""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seasons.architectures import make_scheduler, make_unet
from seasons.captions import caption
from seasons.render import render_all
from seasons.scene import sample_scenes
from seasons.training import Draws, Schedule, fit, to_unit_range

log = logging.getLogger(__name__)

SEED, SCENES_SEED, BATCH = 31, 100, 32
UNCONDITIONAL_SHARE = 0.1


def encode_scenes(vae_folder: Path, scenes: int, cache: Path) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each scene's latents, float16 [scenes, 4, 16, 16], already scaled."""
    from diffusers import AutoencoderKL

    if cache.exists():
        kept = torch.load(cache, weights_only=True)
        return kept["mean"], kept["std"]
    vae = AutoencoderKL.from_pretrained(vae_folder).float().eval().to(memory_format=torch.channels_last)
    means, stds = [], []
    listed = sample_scenes(scenes, SCENES_SEED)
    with torch.inference_mode():
        for at in range(0, scenes, 64):
            posterior = vae.encode(to_unit_range(render_all(listed[at : at + 64]))).latent_dist
            means.append((posterior.mean * vae.config.scaling_factor).half())
            stds.append((posterior.std * vae.config.scaling_factor).half())
    kept = {"mean": torch.cat(means), "std": torch.cat(stds)}
    cache.parent.mkdir(parents=True, exist_ok=True)
    torch.save(kept, cache)
    return kept["mean"], kept["std"]


def train_denoiser(
    vae_folder: Path,
    text_folder: Path,
    tokenizer_folder: Path,
    folder: Path,
    work: Path,
    steps: int,
    decay: int,
    scenes: int,
) -> None:
    """Write a UNet2DConditionModel folder (fp16); resumes from `work`."""
    from transformers import CLIPTextModel, CLIPTokenizer

    torch.manual_seed(SEED)
    mean, std = encode_scenes(vae_folder, scenes, work / f"latents-{scenes}.pt")
    listed = sample_scenes(scenes, SCENES_SEED)
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    text = CLIPTextModel.from_pretrained(text_folder).float().eval().requires_grad_(False)
    unet = make_unet().to(memory_format=torch.channels_last)
    # The graph never changes shape, so compiling pays for itself within minutes; weights stay those of `unet`.
    running = torch.compile(unet)
    signal = make_scheduler().alphas_cumprod

    def loss_at(step: int) -> Tensor:
        draws = Draws.at(SEED, step)
        rows = draws.numpy.integers(scenes, size=BATCH)
        said = ["" if draws.numpy.random() < UNCONDITIONAL_SHARE else caption(listed[row], draws.numpy) for row in rows]
        ids = tokenizer(
            said, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
        )
        with torch.no_grad():
            states = text(ids.input_ids).last_hidden_state
        # Stratified timesteps: one from each 32nd of the schedule, a less noisy gradient at no cost.
        t = torch.from_numpy(((np.arange(BATCH) + draws.numpy.random(BATCH)) * (1000 / BATCH)).astype(np.int64))
        kept = signal[t].view(-1, 1, 1, 1)
        clean = mean[rows].float() + std[rows].float() * draws.normal(BATCH, 4, 16, 16)
        noise = draws.normal(BATCH, 4, 16, 16)
        noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
        velocity = kept.sqrt() * noise - (1 - kept).sqrt() * clean
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        return (running(noisy, t, states, return_dict=False)[0] - velocity).pow(2).mean()

    shipped = fit(
        unet,
        loss_at,
        Schedule(steps, 1.2e-3, 200, decay),
        work / "denoiser.pt",
        betas=(0.9, 0.99),
        ema=0.9985,
        save_every=200,
    )
    shipped.half().save_pretrained(folder)
