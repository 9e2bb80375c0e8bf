from pathlib import Path
from typing import Annotated

from steerwright.dag import Out


def train_weights(weights: Annotated[Path, Out("weights.txt", cache=False)]) -> None:
    """Train for hours."""
    weights.write_text("weights 1 2 3\n")
