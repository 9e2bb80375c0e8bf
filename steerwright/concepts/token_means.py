"""Token means of latents by image and step, from rows in any order and any batches, kept sparse on disk."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerwright.sae.latents import SparseLatents
from steerwright.stats.ranks import Entries

# Elements of a dense block: 32 MiB of float64.
BLOCK = 2**22
# More than any schedule has: image and step as one number.
_STEPS = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class ImageBlock:
    """Some images, whole. `images` int64 [b]: their numbers, ascending; `means` float64 [b, steps + 1, n]: the token
    mean of each latent at each step and, last, the mean of those over the image's steps; `present` bool [b, steps + 1].
    """

    images: NDArray[np.int64]
    means: Tensor
    present: Tensor


class TokenSums:
    """Sums over tokens by (image, step), as they come; parts of one image may come apart, and are put together later.

    On disk 8 bytes for each latent that is active in an image at a step; in memory a few numbers for each such pair.
    """

    def __init__(self, size: int, folder: Path) -> None:
        self._size = size
        self._latents, self._sums = AppendOnlyArray(np.int32, folder), AppendOnlyArray(np.float32, folder)
        self._records: list[NDArray[np.int64]] = []

    def add(self, image: Tensor, step: Tensor, latents: SparseLatents) -> None:
        """Take in rows: their image's number and denoising step, int64 [rows] each, and their latents (on the CPU)."""
        keys, group, tokens = torch.unique_consecutive(
            image * _STEPS + step, return_inverse=True, return_counts=True
        )  # fmt: skip
        # Unused places have index -1 and value 0: they add nothing to latent 0.
        flat = (group.unsqueeze(1) * self._size + latents.indices.clamp(min=0)).reshape(-1)
        dense = torch.bincount(flat, latents.values.double().reshape(-1), len(keys) * self._size)
        where = dense.nonzero().squeeze(1)
        lengths = torch.bincount(where // self._size, minlength=len(keys))
        starts = len(self._latents) + lengths.cumsum(0) - lengths
        self._latents.append((where % self._size).numpy())
        self._sums.append(dense[where].numpy())
        self._records.append(torch.stack([keys // _STEPS, keys % _STEPS, starts, lengths, tokens]).numpy())

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps at which there are tokens, ascending."""
        return tuple(sorted({int(step) for record in self._records for step in np.unique(record[1])}))

    def blocks(self) -> Iterator[ImageBlock]:
        """All images, a few at a time, each once."""
        if not self._records:
            return
        records = np.concatenate(self._records, axis=1)
        records = records[:, np.argsort(records[0], kind="stable")]
        slots = len(self.steps)
        slot_of = np.searchsorted(self.steps, records[1])
        latents, sums = self._latents.read(), self._sums.read()
        images, first = np.unique(records[0], return_index=True)
        bounds = np.append(first, records.shape[1])
        at_once = max(1, BLOCK // ((slots + 1) * self._size))
        for begin in range(0, len(images), at_once):
            end = min(begin + at_once, len(images))
            part = slice(bounds[begin], bounds[end])
            image, _, starts, lengths, tokens = records[:, part]
            pair = np.searchsorted(images[begin:end], image) * slots + slot_of[part]
            entries = np.repeat(starts - lengths.cumsum() + lengths, lengths) + np.arange(lengths.sum())
            flat = np.repeat(pair * self._size, lengths) + latents[entries]
            pairs = (end - begin) * slots
            total = np.bincount(flat, sums[entries], pairs * self._size).reshape(end - begin, slots, self._size)
            count = np.bincount(pair, tokens, pairs).reshape(end - begin, slots)
            yield _whole(images[begin:end], total, count)


def _whole(images: NDArray[np.int64], total: NDArray[Any], count: NDArray[Any]) -> ImageBlock:
    present = torch.from_numpy(count > 0)
    means = torch.from_numpy(total / np.maximum(count, 1)[:, :, None])
    pooled = means.sum(1, keepdim=True) / present.sum(1)[:, None, None]
    return ImageBlock(
        images, torch.cat([means, pooled], dim=1), torch.cat([present, torch.ones(len(images), 1).bool()], dim=1)
    )


class StepEntries:
    """The finished token means, step by step (last: pooled), for statistics that need every image."""

    def __init__(self, slots: int, folder: Path) -> None:
        kinds = (np.int32, np.int32, np.float32)
        self._spools = [tuple(AppendOnlyArray(kind, folder) for kind in kinds) for _ in range(slots)]

    def add(self, block: ImageBlock) -> None:
        """Take in a block of images."""
        for slot, spools in enumerate(self._spools):
            means = block.means[:, slot].float().numpy()
            rows, latents = means.nonzero()
            for spool, values in zip(spools, (block.images[rows], latents, means[rows, latents]), strict=True):
                spool.append(values)

    def at(self, slot: int) -> Entries:
        """What is not zero at one place of the steps, as memory maps."""
        return Entries(*(spool.read() for spool in self._spools[slot]))


# Arrays that grow without bound, on disk: appended to, then read as memory maps.


class AppendOnlyArray:
    """One growing array of `dtype` in a file without a name: it is gone with the process, however that ends."""

    def __init__(self, dtype: Any, folder: Path) -> None:
        self._dtype = np.dtype(dtype)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # it lives as long as the object
        weakref.finalize(self, self._file.close)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, values: NDArray[Any]) -> None:
        """Add `values` [m], cast to the array's dtype."""
        self._file.write(np.ascontiguousarray(values, self._dtype).data)
        self._length += len(values)

    def read(self) -> NDArray[Any]:
        """All that was appended, as a read-only memory map."""
        self._file.flush()
        if not self._length:
            return np.zeros(0, self._dtype)
        return np.memmap(self._file, self._dtype, mode="r", shape=(self._length,))
