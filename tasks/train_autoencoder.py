"""The seasons world's autoencoder."""

import shutil
from pathlib import Path
from typing import Annotated

from steerkit.dag import Out, Param
from steerkit.world.train_autoencoder import train_decoder, train_encoder


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
