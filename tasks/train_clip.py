"""The seasons world's scoring CLIP."""

import shutil
from pathlib import Path
from typing import Annotated

from steerkit.dag import Dep, Out, Param
from steerkit.world.train_clip import train_clip as train


def train_clip(
    tokenizer: Annotated[Path, Dep()],
    scenes: Annotated[int, Param()],
    steps: Annotated[int, Param()],
    clip: Annotated[Path, Out("seasons-clip", cache=False, resume=True)],
) -> None:
    """Train the CLIP that scores pictures against texts."""
    train(tokenizer, clip, clip / ".work", steps, scenes)
    shutil.rmtree(clip / ".work")
