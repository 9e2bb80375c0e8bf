"""The columns of an image-by-latent matrix, so many latents at a time that memory stays small."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Elements of a block: 64 MiB of float32.
BLOCK = 2**24


def latent_blocks(
    values: NDArray[np.float32], latents: NDArray[np.int64] | None = None, elements: int = BLOCK
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Of `values` [images, n] some latents' numbers [b] and their activations, float32 [b, images], contiguous.

    All latents in order, or those of `latents`. `values` may be a memory map. A block has at most `elements` numbers.
    """
    images, size = values.shape
    chosen = np.arange(size) if latents is None else np.asarray(latents, dtype=np.int64)
    at_once = max(1, elements // max(1, images))
    for start in range(0, len(chosen), at_once):
        part = chosen[start : start + at_once]
        # A slice is read row by row where it lies; numbers are gathered.
        run = part[-1] - part[0] + 1 == len(part) and (np.diff(part) == 1).all()
        block = values[:, part[0] : part[-1] + 1] if run else values[:, part]
        yield part, torch.from_numpy(np.array(block)).T.contiguous()
