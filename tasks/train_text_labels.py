"""The seasons world's text classifier."""

import shutil
from pathlib import Path
from typing import Annotated

from steerkit.dag import Out, Param
from steerkit.world.language.train_text_classifier import train_text_classifier


def train_text_labels(
    texts: Annotated[int, Param()],
    steps: Annotated[int, Param()],
    labels: Annotated[Path, Out("seasons-text-labels", cache=False, resume=True)],
) -> None:
    """Train the classifier that says which values a text shows: the ground truth of generated texts."""
    train_text_classifier(labels, labels / ".work", texts, steps)
    shutil.rmtree(labels / ".work")
