"""Where in each image each latent is active: the sparse activations of all tokens, kept beside the S matrix.

A folder: `offsets.npy` int64 [images + 1], and of each entry `latents.npy` int32, `tokens.npy` int32, `values.npy`
float32 or float16, sorted by image, latent and token; entries of image i are offsets[i] up to offsets[i + 1]. With
`manifest.json`, as for the S matrix. Overlays are drawn from here, so no image is generated a second time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

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

SCHEMA: Literal["steerwright.token_maps"] = "steerwright.token_maps"
VERSION: Literal[1] = 1
REMEDY = "compute the token maps again"
# Where each image's entries begin, and how many they are; -1 while it is not finished.
_ROWS = ".rows"
# Bytes that are copied at once.
_PIECE = 2**24


class TokenMapsSource(LatentSource):
    """What token maps were computed from, and how exactly they are kept."""

    dtype: Literal["float32", "float16"] = "float32"


@dataclass(frozen=True, slots=True, eq=False)
class TokenMaps:
    """Activations by image, memory-mapped and read-only: `latents` and `tokens` int32, `values`, all [entries]."""

    source: TokenMapsSource
    offsets: NDArray[np.int64]
    latents: NDArray[np.int32]
    tokens: NDArray[np.int32]
    values: NDArray[np.floating]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """UserError where the folder holds none, unfinished ones, or those of another version."""
        content = read_manifest(folder, SCHEMA, VERSION, REMEDY)
        with damaged(folder, REMEDY):
            source = TokenMapsSource.model_validate(content)
            offsets = np.load(folder / "offsets.npy")
            if offsets.shape != (len(source.images) + 1,):
                raise ValueError(f"offsets.npy is of {len(offsets) - 1} images")
            arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in _kinds(source)]
            for (name, kind), array in zip(_kinds(source).items(), arrays, strict=True):
                if array.shape != (offsets[-1],) or array.dtype != kind:
                    raise ValueError(f"{name}.npy is {array.dtype} {list(array.shape)}")
        return cls(source, offsets, *arrays)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source.images)

    def map(self, image: int, latent: int) -> NDArray[np.float32]:
        """Activations of `latent` on the tokens of `image`, float32 [h, w]; zeros where it is silent."""
        values: NDArray[np.float32] = self.maps([image], [latent])[0, 0]
        return values

    def maps(self, images: Sequence[int], latents: Sequence[int]) -> NDArray[np.float32]:
        """Of each image each latent: float32 [images, latents, h, w]."""
        wanted = np.asarray(latents, dtype=np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < self.source.size):
            raise ValueError(f"there are {self.source.size} latents; {list(latents)} are not all among them")
        out = np.zeros((len(images), len(wanted), self.source.tokens), dtype=np.float32)
        for place, image in enumerate(images):
            if not 0 <= image < len(self):
                raise ValueError(f"there are {len(self)} images; {image} is not among them")
            part = slice(int(self.offsets[image]), int(self.offsets[image + 1]))
            ordered = self.latents[part]
            starts, ends = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
            for number, (start, end) in enumerate(zip(starts + part.start, ends + part.start, strict=True)):
                out[place, number, self.tokens[start:end]] = self.values[start:end]
        return out.reshape(len(images), len(wanted), *self.source.grid)

    def active(self) -> NDArray[np.int64]:
        """Number of active latents over all tokens of each image, int64 [images]; over tokens it is L0."""
        return np.diff(self.offsets)


class TokenMapsWriter:
    """Fills `folder`, which may hold unfinished maps of the same source; use it as a context manager.

    As SMatrixWriter: leaving the `with` block finishes it, images are resumed, memory is that of one batch.
    """

    def __init__(self, folder: Path, source: TokenMapsSource) -> None:
        self._folder, self._source = folder, source
        self._files: list[int] = []
        self._rows = np.full((len(source.images), 2), -1, dtype=np.int64)

    def __enter__(self) -> Self:
        complete = held(self._folder, SCHEMA, VERSION, self._source)
        if complete:
            self._rows[:] = 0
            return self
        with enough_space(str(self._folder), "finished images"):
            self._folder.mkdir(parents=True, exist_ok=True)
            if complete is None or not self._resume():
                self._begin()
            self._files = [os.open(self._folder / name, os.O_RDWR) for name in (*self._parts(), _ROWS)]
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
    def finished(self) -> NDArray[np.bool_]:
        """Which images have been written, by this writer or an earlier one; bool [images]."""
        return self._rows[:, 0] >= 0

    @property
    def pending(self) -> list[int]:
        """Numbers of the images that are still to be added, ascending."""
        return [int(image) for image in np.flatnonzero(~self.finished)]

    def add(
        self,
        images: int | Sequence[int],
        latents: SparseLatents | LatentEntries,
        tokens: NDArray[np.int64] | None = None,
    ) -> None:
        """Keep the latents of all tokens of `images` (numbers), image after image, each with as many tokens.

        `tokens` int64 [rows of an image]: their places on the grid, ascending, where some are missing. Images that are
        there already are passed over. ValueError for values that float16 does not hold.
        """
        numbers = [images] if isinstance(images, int) else list(images)
        entries = latents if isinstance(latents, LatentEntries) else latent_entries(latents, len(numbers))
        check_batch(self._source, numbers, entries)
        missing = ~self.finished[numbers]
        if not missing.any():
            return
        places = self._places(entries, tokens)
        with np.errstate(over="ignore"):
            values = entries.value.astype(self._source.dtype)
        if not np.isfinite(values).all():
            raise ValueError(f"activations of up to {entries.value.max():g} do not fit {self._source.dtype}")
        start = int(self._rows.sum(1).max(initial=0))
        counts = np.bincount(entries.image, minlength=entries.images)
        with enough_space(str(self._folder), "finished images"):
            kept = missing[entries.image]
            columns = (entries.latent.astype(np.int32), places.astype(np.int32), values)
            for file, column in zip(self._files, columns, strict=False):
                write_at(file, column[kept].tobytes(), start * column.itemsize)
            for image, count in zip(np.array(numbers)[missing].tolist(), counts[missing], strict=True):
                # Last, so that an image counts only when all of it is there.
                self._rows[image] = start, count
                write_at(self._files[-1], self._rows[image].tobytes(), image * 16)
                start += int(count)

    def _places(self, entries: LatentEntries, tokens: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """The place on the grid of each entry's token."""
        here = np.arange(self._source.tokens) if tokens is None else np.asarray(tokens)
        if len(here) != entries.tokens or (np.diff(here) <= 0).any() or here[0] < 0 or here[-1] >= self._source.tokens:
            raise ValueError(f"{entries.tokens} tokens on a grid of {self._source.tokens}: say where they are")
        return here[entries.token]

    def _parts(self) -> list[str]:
        return [f".{name}" for name in _kinds(self._source)]

    def _resume(self) -> bool:
        try:
            rows = np.fromfile(self._folder / _ROWS, dtype=np.int64)
        except FileNotFoundError:
            return False
        if rows.size != self._rows.size or not all((self._folder / name).is_file() for name in self._parts()):
            return False
        self._rows = rows.reshape(-1, 2)
        return True

    def _begin(self) -> None:
        for name in (MANIFEST, _ROWS, "offsets.npy", *self._parts(), *(f"{name}.npy" for name in _kinds(self._source))):
            (self._folder / name).unlink(missing_ok=True)
        for name in self._parts():
            (self._folder / name).touch()
        self._rows.tofile(self._folder / _ROWS)
        write_manifest(self._folder, SCHEMA, VERSION, self._source, complete=False)

    def _finish(self) -> None:
        if not self.finished.all():
            raise ValueError(f"{len(self.pending)} of {len(self._rows)} images are missing in the token maps")
        with enough_space(str(self._folder), "finished images"):
            counts = self._rows[:, 1]
            np.save(self._folder / "offsets.npy", np.append(0, counts.cumsum()))
            for name, kind in _kinds(self._source).items():
                self._arrange(name, kind, int(counts.sum()))
            write_manifest(self._folder, SCHEMA, VERSION, self._source, complete=True)
            for name in (_ROWS, *self._parts()):
                (self._folder / name).unlink()

    def _arrange(self, name: str, kind: type[np.generic], entries: int) -> None:
        """Copy a column into the order of images, whatever order they came in, so that equal maps are equal bytes."""
        size = np.dtype(kind).itemsize
        with (self._folder / f".{name}").open("rb") as source, (self._folder / f"{name}.npy").open("wb") as target:
            header = {
                "descr": np.lib.format.dtype_to_descr(np.dtype(kind)),
                "fortran_order": False,
                "shape": (entries,),
            }
            np.lib.format.write_array_header_1_0(target, header)
            # Neighbours in the file are copied as one run.
            breaks = np.flatnonzero(self._rows[1:, 0] != self._rows[:-1].sum(1)) + 1
            for run in np.split(self._rows, breaks):
                source.seek(int(run[0, 0]) * size)
                left = int(run[:, 1].sum()) * size
                while left and (piece := source.read(min(left, _PIECE))):
                    target.write(piece)
                    left -= len(piece)
            target.flush()
            os.fsync(target.fileno())


def _kinds(source: TokenMapsSource) -> dict[str, type[np.generic]]:
    values: type[np.generic] = np.float16 if source.dtype == "float16" else np.float32
    return {"latents": np.int32, "tokens": np.int32, "values": values}
