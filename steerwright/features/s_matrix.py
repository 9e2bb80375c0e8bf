"""The S matrix: how strongly each latent is active in each image, pooled over the image's tokens.

A folder: `max.npy`, `mean.npy`, `top.npy`, float32 [images, n], and `manifest.json`. Images are written as they come;
a folder is finished when its manifest says `complete`, and until then nothing reads it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from steerwright.features.entries import (
    MANIFEST,
    LatentEntries,
    LatentSource,
    check_batch,
    damaged,
    held,
    latent_entries,
    read_manifest,
    write_at,
    write_manifest,
)
from steerwright.files import enough_space
from steerwright.sae.latents import SparseLatents

SCHEMA: Literal["steerwright.s_matrix"] = "steerwright.s_matrix"
VERSION: Literal[1] = 1
REMEDY = "compute the S matrix again"
_FINISHED = ".finished"


class SMatrixSource(LatentSource):
    """What an S matrix was computed from, and how its tokens were pooled."""

    top_share: float = Field(
        gt=0, le=1, description="`top` is the mean of the ceil(top_share * tokens) largest tokens."
    )


@dataclass(frozen=True, slots=True, eq=False)
class SMatrix:
    """Pooled activations, float32 [images, n] each, memory-mapped and read-only; row i is image i."""

    source: SMatrixSource
    max: NDArray[np.float32]
    mean: NDArray[np.float32]
    top: NDArray[np.float32]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """UserError where the folder holds none, an unfinished one, or one of another version."""
        content = read_manifest(folder, SCHEMA, VERSION, REMEDY)
        with damaged(folder, REMEDY):
            source = SMatrixSource.model_validate(content)
            arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in STATISTICS]
            for name, array in zip(STATISTICS, arrays, strict=True):
                if array.shape != (len(source.images), source.size) or array.dtype != np.float32:
                    raise ValueError(f"{name}.npy is {array.dtype} {list(array.shape)}")
        return cls(source, *arrays)

    @property
    def size(self) -> int:
        """Number of latents, n."""
        return self.source.size

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source.images)

    def of(self, statistic: Statistic) -> NDArray[np.float32]:
        """`max`, `mean` or `top`, [images, n]."""
        return {"max": self.max, "mean": self.mean, "top": self.top}[statistic]


class SMatrixWriter:
    """Fills `folder`, which may hold an unfinished matrix of the same source; use it as a context manager.

    Leaving the `with` block without an exception finishes the folder, and is a ValueError where images are missing. A
    writer that is killed loses at most the images that it was given last. Holds one batch of images in memory.
    """

    def __init__(self, folder: Path, source: SMatrixSource) -> None:
        self._folder, self._source = folder, source
        self._files: list[int] = []
        self.finished = np.zeros(len(source.images), dtype=bool)
        """Which images have been written, by this writer or an earlier one."""

    def __enter__(self) -> Self:
        complete = held(self._folder, SCHEMA, VERSION, self._source)
        if complete:
            self.finished[:] = True
            return self
        with enough_space(str(self._folder), "finished images"):
            self._folder.mkdir(parents=True, exist_ok=True)
            if complete is None or not self._resume():
                self._begin()
            self._files = [os.open(self._folder / name, os.O_RDWR) for name in (*_names(), _FINISHED)]
        self._first = os.fstat(self._files[0]).st_size - self.finished.size * self._source.size * 4
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._files:
                self._finish()
        finally:
            for file in self._files:
                os.close(file)
            self._files = []

    @property
    def pending(self) -> list[int]:
        """Numbers of the images that are still to be added, ascending."""
        return [int(image) for image in np.flatnonzero(~self.finished)]

    def add(self, images: int | Sequence[int], latents: SparseLatents | LatentEntries) -> None:
        """Write the rows of `images` (numbers) from the latents of all their tokens, image after image.

        Images of a batch have equally many tokens; where they are fewer than the grid's (rows that were not finite are
        left out of stores) statistics are over those. Images that are there already are passed over.
        """
        numbers = [images] if isinstance(images, int) else list(images)
        entries = latents if isinstance(latents, LatentEntries) else latent_entries(latents, len(numbers))
        check_batch(self._source, numbers, entries)
        if self.finished[numbers].all():
            return
        pooled = pooled_latents(entries, self._source.top_share)
        with enough_space(str(self._folder), "finished images"):
            for place, image in enumerate(numbers):
                if self.finished[image]:
                    continue
                for file, values in zip(self._files, (pooled.max, pooled.mean, pooled.top), strict=False):
                    write_at(file, values[place].tobytes(), self._first + image * self._source.size * 4)
                # Last, so that an image counts only when all of it is there.
                write_at(self._files[-1], b"\1", image)
                self.finished[image] = True

    def _resume(self) -> bool:
        """Whether the folder holds unfinished rows that can be gone on with; what is finished is known then."""
        try:
            shapes = {np.load(self._folder / name, mmap_mode="r").shape for name in _names()}
            flags = np.fromfile(self._folder / _FINISHED, dtype=np.uint8)
        except (OSError, ValueError):
            return False
        if shapes != {(len(self.finished), self._source.size)} or flags.shape != self.finished.shape:
            return False
        self.finished = flags.astype(bool)
        return True

    def _begin(self) -> None:
        for name in (MANIFEST, _FINISHED, *_names()):
            (self._folder / name).unlink(missing_ok=True)
        shape = (len(self.finished), self._source.size)
        for name in _names():
            np.lib.format.open_memmap(self._folder / name, mode="w+", dtype=np.float32, shape=shape)
        (self._folder / _FINISHED).write_bytes(bytes(len(self.finished)))
        self._save(complete=False)

    def _finish(self) -> None:
        if not self.finished.all():
            raise ValueError(f"{(~self.finished).sum()} of {len(self.finished)} images are missing in the S matrix")
        with enough_space(str(self._folder), "finished images"):
            for file in self._files:
                os.fsync(file)
            self._save(complete=True)
            (self._folder / _FINISHED).unlink()

    def _save(self, complete: bool) -> None:
        write_manifest(self._folder, SCHEMA, VERSION, self._source, complete)


def _names() -> list[str]:
    return [f"{name}.npy" for name in STATISTICS]


# One number for each latent in an image: its activations over the image's tokens, pooled three ways.

Statistic = Literal["max", "mean", "top"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)


@dataclass(frozen=True, slots=True, eq=False)
class PooledLatents:
    """Largest activation over tokens, mean over tokens, and mean over the q largest tokens: float32 [images, n] each.

    A token on which a latent is not active counts with 0 in all three.
    """

    max: NDArray[np.float32]
    mean: NDArray[np.float32]
    top: NDArray[np.float32]


def pooled_latents(entries: LatentEntries, top_share: float) -> PooledLatents:
    """Pool over tokens; q = ceil(top_share * tokens), with 0 < top_share <= 1. Sums are taken in float64."""
    q = top_tokens(entries.tokens, top_share)
    group, value = entries.group, entries.value
    new = np.ones(len(group), dtype=bool)
    new[1:] = group[1:] != group[:-1]
    starts = np.flatnonzero(new)
    shape = (3, entries.images * entries.size)
    out = np.zeros(shape, dtype=np.float32)
    if len(starts):
        counts = np.diff(np.append(starts, len(group)))
        zeros = entries.tokens - counts
        largest = np.maximum.reduceat(value, starts)
        # Where a latent is silent on some token its largest is no less than 0 (activations may be negative: AbsTopK).
        out[0, group[starts]] = np.where(zeros > 0, np.maximum(largest, 0), largest)
        wide = value.astype(np.float64)
        out[1, group[starts]] = np.add.reduceat(wide, starts) / entries.tokens
        order = np.lexsort((-wide, group))
        ranked, run = wide[order], np.repeat(np.arange(len(starts)), counts)
        # Place among the image's tokens, the largest first: the silent tokens' zeros come before what is negative.
        place = np.arange(len(group)) - starts[run] + np.where(ranked < 0, zeros[run], 0)
        out[2, group[starts]] = np.add.reduceat(np.where(place < q, ranked, 0.0), starts) / q
    pooled = out.reshape(3, entries.images, entries.size)
    return PooledLatents(pooled[0], pooled[1], pooled[2])


def top_tokens(tokens: int, top_share: float) -> int:
    """q = ceil(top_share * tokens): how many tokens the mean of the largest is over."""
    if not 0 < top_share <= 1:
        raise ValueError(f"the share of tokens {top_share} is not above 0 and at most 1")
    # Shares are decimal fractions: 0.1 of 30 tokens are 3, though 0.1 * 30 is a little more in binary.
    return max(1, math.ceil(round(top_share * tokens, 9)))


# The columns of an image-by-latent matrix, so many latents at a time that memory stays small.

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
