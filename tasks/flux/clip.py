"""CLIP embeddings of the images in which latents are looked at."""

from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl

from steerwright.dag import Dep, Out, Param, progress
from steerwright.images import load_images
from steerwright.scoring.clip import ClipScorer

_AT_ONCE = 256


def embed_images(
    images: Annotated[Path, Dep()],
    pictures: Annotated[Path, Dep()],
    judge: Annotated[Path, Dep()],  # noqa: ARG001  # read by its name in params; here so that new weights count
    clip: Annotated[str, Param("/scorers.clip")],
    embeddings: Annotated[Path, Out("embeddings.npy")],
) -> None:
    """Embed every picture: float32 [images, e], of length 1, in the order of images.parquet."""
    files = pl.read_parquet(images)["file"].to_list()
    scorer = ClipScorer(clip)
    parts = []
    for start in range(0, len(files), _AT_ONCE):
        some = files[start : start + _AT_ONCE]
        parts.append(scorer.images(load_images([pictures / name for name in some])).numpy())
        progress(start + len(some), len(files), "pictures")
    np.save(embeddings, np.concatenate(parts).astype(np.float32))
