"""The active latents of whole images, token by token, in one order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from steerkit.sae.latents import SparseLatents


@dataclass(frozen=True, slots=True, eq=False)
class LatentEntries:
    """What is not zero of the activations z [images, tokens, n], sorted by image, then latent, then token.

    `image`, `latent`, `token` int64 and `value` float32, all [entries].
    """

    images: int
    tokens: int
    size: int
    image: NDArray[np.int64]
    latent: NDArray[np.int64]
    token: NDArray[np.int64]
    value: NDArray[np.float32]

    @property
    def group(self) -> NDArray[np.int64]:
        """image * n + latent of each entry, ascending: entries of one group are one latent in one image."""
        return self.image * self.size + self.latent


def latent_entries(latents: SparseLatents, images: int = 1) -> LatentEntries:
    """Entries of `images` images whose rows follow each other, each with as many tokens (ValueError if they have not).

    Raises ValueError for values that are not finite: rows like that are left out when activations are stored.
    """
    rows = len(latents)
    if images < 1 or rows == 0 or rows % images:
        raise ValueError(f"{rows} rows are not the tokens of {images} images")
    used = latents.used.cpu()
    row, _ = used.nonzero(as_tuple=True)
    latent, value = latents.indices.cpu()[used].long(), latents.values.detach().cpu()[used].float()
    if not value.isfinite().all():
        raise ValueError(f"{int((~value.isfinite()).sum())} latents are not finite")
    tokens = rows // images
    # The token is part of the key, so no two keys are equal and the order is the same on every machine.
    key = ((row // tokens) * latents.size + latent) * tokens + row % tokens
    key, order = torch.sort(key)
    found = (key // (latents.size * tokens), key // tokens % latents.size, key % tokens, value[order])
    image, latent, token, value = found
    return LatentEntries(images, tokens, latents.size, image.numpy(), latent.numpy(), token.numpy(), value.numpy())
