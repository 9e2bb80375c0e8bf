"""The seasons world's language model."""

import shutil
from pathlib import Path
from typing import Annotated

from steerwright.dag import Out, Param
from steerwright.world.language.train_language_model import train_language_model as train


def train_language_model(
    documents: Annotated[int, Param()],
    steps: Annotated[int, Param()],
    language_model: Annotated[Path, Out("seasons-lm", cache=False, resume=True)],
) -> None:
    """Train the small Mistral and its tokenizer on the grammar's documents."""
    train(language_model, language_model / ".work", documents, steps)
    shutil.rmtree(language_model / ".work")
