"""Means of raw rows by image, for a probe beside the latents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerkit.concepts.image_rows import ImageRows


class RowMeans:
    """Mean over all tokens and steps of the rows of each image of `chosen` prompts (bool [prompts]), running.

    In memory one float64 [d] for each such image, so choose as many prompts as a probe needs.
    """

    def __init__(self, width: int, chosen: NDArray[np.bool_]) -> None:
        self._chosen = chosen
        self._place: dict[int, int] = {}
        self._sums = torch.zeros(0, width, dtype=torch.float64)
        self._count = torch.zeros(0, dtype=torch.float64)

    def add(self, given: ImageRows, prompt_of: Sequence[int]) -> None:
        """Take in rows; `prompt_of`: the prompt's number of each image."""
        images, group = torch.unique_consecutive(given.image, return_inverse=True)
        kept = [(number, image) for number, image in enumerate(images.tolist()) if self._chosen[prompt_of[image]]]
        if not kept:
            return
        sums = torch.zeros(len(images), given.rows.shape[1], dtype=torch.float64)
        sums.index_add_(0, group, given.rows.double())
        numbers = torch.tensor([number for number, _ in kept])
        places = torch.tensor([self._place.setdefault(image, len(self._place)) for _, image in kept])
        self._grow(len(self._place))
        self._sums.index_add_(0, places, sums[numbers])
        self._count.index_add_(0, places, torch.bincount(group, minlength=len(images))[numbers].double())

    def read(self) -> tuple[NDArray[np.int64], Tensor]:
        """Numbers of the images, int64 [images], and their means, float64 [images, d]."""
        held = len(self._place)
        return np.array(list(self._place), dtype=np.int64), self._sums[:held] / self._count[:held].unsqueeze(1)

    def _grow(self, needed: int) -> None:
        if needed > len(self._sums):
            more = max(needed, 2 * len(self._sums)) - len(self._sums)
            self._sums = torch.cat([self._sums, self._sums.new_zeros(more, self._sums.shape[1])])
            self._count = torch.cat([self._count, self._count.new_zeros(more)])
