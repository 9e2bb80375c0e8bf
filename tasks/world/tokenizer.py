"""The seasons world's tokenizer."""

from pathlib import Path
from typing import Annotated

from seasons.tokenizer import train_tokenizer as train
from steerwright.dag import Out, Param


def train_tokenizer(
    captions: Annotated[int, Param()],
    tokenizer: Annotated[Path, Out("seasons-tokenizer", cache=False)],
) -> None:
    """Train the byte-level BPE that every embedded text model shares."""
    train(tokenizer, captions)
