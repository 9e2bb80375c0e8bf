"""The seasons world's perceptual backbone."""

import shutil
from pathlib import Path
from typing import Annotated

from steerkit.dag import Out, Param
from steerkit.world.train_perceptual import train_perceptual as train


def train_perceptual(
    scenes: Annotated[int, Param()],
    steps: Annotated[int, Param()],
    backbone: Annotated[Path, Out("seasons-lpips", cache=False, resume=True)],
) -> None:
    """Train the backbone on which lpips compares pictures."""
    train(backbone, backbone / ".work", steps, scenes)
    shutil.rmtree(backbone / ".work")
