"""The seasons world's Stable Diffusion pipeline."""

import shutil
from pathlib import Path
from typing import Annotated

from seasons.assemble_pipeline import assemble_pipeline
from seasons.train_denoiser import train_denoiser as train
from steerwright.dag import Dep, Out, Param


def train_denoiser(
    tokenizer: Annotated[Path, Dep()],
    vae: Annotated[Path, Dep()],
    text_encoder: Annotated[Path, Dep()],
    scenes: Annotated[int, Param()],
    steps: Annotated[int, Param()],
    decay: Annotated[int, Param()],
    pipeline: Annotated[Path, Out("seasons-sd", cache=False, resume=True)],
) -> None:
    """Train the UNet and put the StableDiffusionPipeline folder together."""
    work = pipeline / ".work"
    train(vae, text_encoder, tokenizer, work / "unet", work, steps, decay, scenes)
    assemble_pipeline(vae, text_encoder, tokenizer, work / "unet", pipeline)
    shutil.rmtree(work)
