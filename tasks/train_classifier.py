"""The seasons world's label classifier."""

import shutil
from pathlib import Path
from typing import Annotated

from steerkit.dag import Out, Param
from steerkit.world.train_classifier import train_classifier as train


def train_classifier(
    scenes: Annotated[int, Param()],
    steps: Annotated[int, Param()],
    labels: Annotated[Path, Out("seasons-labels", cache=False, resume=True)],
) -> None:
    """Train the classifier that says what a picture shows: the ground truth of generated pictures."""
    train(labels, labels / ".work", steps, scenes)
    shutil.rmtree(labels / ".work")
