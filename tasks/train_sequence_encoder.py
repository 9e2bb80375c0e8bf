"""The seasons world's T5 encoder, which FLUX reads."""

import shutil
from pathlib import Path
from typing import Annotated

from steerkit.dag import Dep, Out, Param
from steerkit.world.train_sequence_encoder import train_sequence_encoder as train


def train_sequence_encoder(
    tokenizer: Annotated[Path, Dep()],
    steps: Annotated[int, Param()],
    sequence_encoder: Annotated[Path, Out("seasons-sequence-encoder", cache=False, resume=True)],
) -> None:
    """Train the T5 encoder."""
    work = sequence_encoder / ".work"
    train(tokenizer, sequence_encoder, work, steps)
    shutil.rmtree(work)
