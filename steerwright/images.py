"""The pictures of a run: what is asked for, under which names they lie on disk, and how they are read."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steerwright.errors import UserError

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,100}")


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture that is asked for: `prompt`, drawn from `seed` into the file `path`, within the folder of pictures.

    `multiplier`: how many times the strength of its condition it is steered with.
    """

    prompt: str
    seed: int
    path: str
    multiplier: float = 1.0


def picture_path(condition: str, prompt: int, seed: int) -> str:
    """Where the picture of a prompt's number and a seed lies within the folder of pictures: CONDITION/PROMPT-SEED.png.

    ValueError for a condition that is no plain word.
    """
    if not condition.isidentifier():
        raise ValueError(f"the condition {condition!r} is no plain word, so it cannot name a folder")
    return f"{condition}/{int(prompt)}-{int(seed)}.png"


def picture_name(id_: str) -> str:
    """The file of a picture: its id where that is a plain word, else a hash, because ids may come from users' files."""
    return f"{id_ if _PLAIN.fullmatch(id_) else hashlib.sha256(id_.encode()).hexdigest()[:24]}.png"


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
