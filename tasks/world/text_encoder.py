"""The seasons world's text encoder."""

import shutil
from pathlib import Path
from typing import Annotated

from seasons.train_text_encoder import train_text_encoder as train
from steerwright.dag import Dep, Out, Param


def train_text_encoder(
    tokenizer: Annotated[Path, Dep()],
    steps: Annotated[int, Param()],
    text_encoder: Annotated[Path, Out("seasons-text-encoder", cache=False, resume=True)],
) -> None:
    """Train the text encoder to name the labels of a caption."""
    train(tokenizer, text_encoder, text_encoder / ".work", steps)
    shutil.rmtree(text_encoder / ".work")
