"""Pictures from their files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steerkit.errors import UserError


def load_images(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """Pixels [n, h, w, 3] of pictures of one size. UserError for one that is missing or of another size."""
    from PIL import Image

    pictures = []
    for path in paths:
        try:
            with Image.open(path) as picture:
                pictures.append(np.asarray(picture.convert("RGB")))
        except FileNotFoundError:
            raise UserError(f"The picture {path} is not there; make the pictures again.") from None
        if pictures[-1].shape != pictures[0].shape:
            raise UserError(f"{path} is {pictures[-1].shape[:2]} pixels where others are {pictures[0].shape[:2]}.")
    return np.stack(pictures) if pictures else np.zeros((0, 0, 0, 3), np.uint8)
