"""The pictures of a run on disk: `CONDITION/ID-SEED.png`, each complete or absent."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steerwright.errors import UserError

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,100}")


class PictureFolder:
    """Pictures by prompt id, seed and condition; lossless PNG, written beside their place and renamed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, prompt: int, seed: int, condition: str) -> Path:
        """Where a picture is kept. Raises ValueError for a condition that is no plain word."""
        if not condition.isidentifier():
            raise ValueError(f"the condition {condition!r} is no plain word, so it cannot name a folder")
        return self.folder / condition / f"{int(prompt)}-{int(seed)}.png"

    def has(self, prompt: int, seed: int, condition: str) -> bool:
        """Whether the picture is there; one that a kill cut short is not."""
        return self.path(prompt, seed, condition).is_file()

    def save(self, prompt: int, seed: int, condition: str, pixels: NDArray[np.uint8]) -> Path:
        """Write pixels [H, W, 3]."""
        from PIL import Image

        path = self.path(prompt, seed, condition)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        Image.fromarray(pixels).save(partial, format="PNG")
        os.replace(partial, path)
        return path

    def take(self, prompt: int, seed: int, condition: str, source: "PictureFolder", other: str) -> Path:
        """Keep a copy of the same prompt's and seed's picture of `source`, there under the condition `other`."""
        path = self.path(prompt, seed, condition)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        shutil.copyfile(source.path(prompt, seed, other), partial)
        os.replace(partial, path)
        return path

    def load(self, prompt: int, seed: int, condition: str) -> NDArray[np.uint8]:
        """Pixels [H, W, 3] of a picture."""
        from PIL import Image

        with Image.open(self.path(prompt, seed, condition)) as picture:
            return np.asarray(picture.convert("RGB"))

    def load_all(self, keys: Iterable[tuple[int, int, str]]) -> NDArray[np.uint8]:
        """Pixels [n, H, W, 3] of several pictures of one size."""
        return np.stack([self.load(*key) for key in keys])


# Pictures from their files.


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


def picture_name(id_: str) -> str:
    """The file of a picture: its id where that is a plain word, else a hash, because ids may come from users' files."""
    return f"{id_ if _PLAIN.fullmatch(id_) else hashlib.sha256(id_.encode()).hexdigest()[:24]}.png"
