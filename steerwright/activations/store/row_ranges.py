"""Where in the files of a store the rows of one hookpoint lie: found once, then read without Arrow, front to back."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steerwright.activations.store.reader import Store
from steerwright.activations.store.rows import BRANCHES, DTYPES, TOKEN_TYPES
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint

if TYPE_CHECKING:
    import pyarrow as pa

NO_STEP = -1
"""The step of rows of a text encoder, which has none."""


@dataclass(frozen=True, slots=True)
class RowSelection:
    """Which rows are wanted; None: all. `prompts` are ids."""

    prompts: Collection[str] | None = None
    steps: Collection[int] | None = None
    branches: Collection[str] | None = None
    token_types: Collection[str] | None = None

    def described(self) -> dict[str, list[Any] | None]:
        """The same as JSON, in a fixed order."""
        parts = {name: getattr(self, name) for name in ("prompts", "steps", "branches", "token_types")}
        return {name: None if wanted is None else sorted(wanted) for name, wanted in parts.items()}


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows that follow each other in one file."""

    path: Path
    offset: int
    """Bytes from the start of the file."""
    rows: int


@dataclass(frozen=True, eq=False)
class RowRanges:
    """The selected rows of a hookpoint, numbered from 0 in the order of the files and, in each, of their bytes.

    `file`, `offset` (bytes), `step` and `rows` are int64 [ranges]: a range lies in one piece and has one step.
    """

    paths: tuple[Path, ...]
    row_bytes: int
    file: NDArray[np.int64]
    offset: NDArray[np.int64]
    step: NDArray[np.int64]
    rows: NDArray[np.int64]

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """Number of the first row of each range, and at the end the number of all rows."""
        return np.concatenate([[0], np.cumsum(self.rows)])

    @property
    def total(self) -> int:
        return int(self.first[-1])

    @property
    def file_starts(self) -> NDArray[np.int64]:
        """Number of the first selected row of each file that has any, and at the end the number of all rows."""
        begins = np.flatnonzero(np.diff(self.file, prepend=-1))
        return np.append(self.first[begins], self.total)

    def pieces(self, start: int, stop: int) -> tuple[list[Piece], NDArray[np.int64]]:
        """Where the rows numbered `start` to `stop` (not included) lie, in order, and the step of each."""
        low = int(np.searchsorted(self.first, start, side="right")) - 1
        high = int(np.searchsorted(self.first, stop, side="left"))
        begin = np.maximum(self.first[low:high], start)
        rows = np.minimum(self.first[low + 1 : high + 1], stop) - begin
        file = self.file[low:high]
        offset = self.offset[low:high] + (begin - self.first[low:high]) * self.row_bytes
        apart = np.append(True, (np.diff(file) != 0) | (offset[1:] != offset[:-1] + rows[:-1] * self.row_bytes))
        heads = np.flatnonzero(apart)
        pieces = [
            Piece(self.paths[file[head]], int(offset[head]), int(count))
            for head, count in zip(heads, np.add.reduceat(rows, heads), strict=True)
        ]
        return pieces, np.repeat(self.step[low:high], rows)


def row_ranges(store: Store, hookpoint: Hookpoint, selection: RowSelection) -> RowRanges:
    """Find the rows of `hookpoint` that `selection` wants; of the values nothing is read.

    UserError when the store has no such hookpoint, or none of the selected rows.
    """
    row_bytes = store.layout(hookpoint).width * DTYPES[store.manifest.dtype].itemsize
    paths: dict[Path, int] = {}
    found: list[NDArray[np.int64]] = []
    for file, number in store.places(hookpoint):
        start, rows, step = _ranges(file.index(number), selection)
        if len(start):
            place = paths.setdefault(file.path, len(paths))
            found.append(np.stack([np.full_like(start, place), file.values_at(number) + start * row_bytes, step, rows]))
    if not found:
        raise UserError(_nothing_found(store, hookpoint, selection))
    return RowRanges(tuple(paths), row_bytes, *np.concatenate(found, axis=1))


def _ranges(batch: pa.RecordBatch, selection: RowSelection) -> tuple[NDArray[np.int64], ...]:
    """First row, number of rows and step, int64 [ranges] each, of the wanted rows of a batch.

    There are few, since rows come forward by forward and prompt by prompt.
    """
    step = batch.column("step").fill_null(NO_STEP).to_numpy(zero_copy_only=False).astype(np.int64)
    wanted = np.ones(batch.num_rows, dtype=bool)
    if selection.steps is not None:
        wanted &= np.isin(step, list(selection.steps))
    for column, names in (
        ("branch", selection.branches),
        ("prompt", selection.prompts),
        ("token_type", selection.token_types),
    ):
        if names is not None:
            lookup = np.array([name in names for name in batch.column(column).dictionary.to_pylist()])
            if not lookup.all():
                wanted &= lookup[batch.column(column).indices.to_numpy(zero_copy_only=False)]
    changes = np.flatnonzero((np.diff(wanted) != 0) | (np.diff(step) != 0)) + 1
    starts = np.concatenate([[0], changes])
    rows = np.diff(starts, append=batch.num_rows)
    kept = wanted[starts]
    return starts[kept], rows[kept], step[starts[kept]]


def _nothing_found(store: Store, hookpoint: Hookpoint, selection: RowSelection) -> str:
    asked = [
        f"{name} {', '.join(map(str, wanted[:5]))}{', ...' if len(wanted) > 5 else ''}"
        for name, wanted in selection.described().items()
        if wanted is not None
    ]
    for what, wanted, known in (
        ("branches", selection.branches, BRANCHES),
        ("token types", selection.token_types, TOKEN_TYPES),
    ):
        unknown = sorted(set(wanted or ()) - set(known))
        if unknown:
            asked.append(f"({what} are {', '.join(known)}; not {', '.join(unknown)})")
    return (
        f"The activation store {store.folder} has no rows at {hookpoint} with {'; '.join(asked) or 'finite values'}. "
        "Change what is selected, or collect these activations first."
    )


# How fast the disk gives the files of a store, read one after the other and nothing else: what a loader aspires to.

_BLOCK = 8 << 20


def sequential_rate(paths: Sequence[Path], most_bytes: int = 256 << 20, *, cached: bool = False) -> float:
    """Bytes per second of reading `paths` front to back, `most_bytes` at most.

    Unless `cached`, what memory holds of them is dropped first (where the system can; it costs others nothing but
    time), so that the disk is measured. 0.0 for nothing to read.
    """
    memory = bytearray(_BLOCK)
    left, seconds, read = most_bytes, 0.0, 0
    for path in paths:
        if left <= 0:
            break
        with path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):
                if not cached:
                    os.posix_fadvise(file.fileno(), 0, left, os.POSIX_FADV_DONTNEED)
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            start = time.perf_counter()
            while left > 0 and (got := file.readinto(memory)):
                left, read = left - got, read + got
            seconds += time.perf_counter() - start
    return read / seconds if seconds else 0.0


# Read rows of a store's files straight into memory that is already there, and tell the disk what comes next.
#
# Not through the memory map: a mapped page costs a fault and counts as the process's memory; a read costs one copy.

_OPEN_FILES = 32


class ShardReader:
    """Keeps a few files open; for one thread."""

    def __init__(self, row_bytes: int) -> None:
        self._row_bytes = row_bytes
        self._open: OrderedDict[Path, int] = OrderedDict()

    def announce(self, pieces: Sequence[Piece]) -> None:
        """Let the disk start on these, where the system knows how."""
        if hasattr(os, "posix_fadvise"):
            for piece in pieces:
                size = piece.rows * self._row_bytes
                os.posix_fadvise(self._file(piece.path), piece.offset, size, os.POSIX_FADV_WILLNEED)

    def read(self, piece: Piece, memory: Any) -> None:
        """Fill `memory` (a writable buffer of bytes) with the piece's rows; UserError where the file ends too early."""
        view, offset = memoryview(memory).cast("B"), piece.offset
        file = self._file(piece.path)
        while len(view):
            got = os.preadv(file, [view], offset)
            if not got:
                raise UserError(f"{piece.path} is shorter than its manifest says; collect the activations again.")
            view, offset = view[got:], offset + got

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def __del__(self) -> None:
        self.close()

    def _file(self, path: Path) -> int:
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        if len(self._open) >= _OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        self._open[path] = os.open(path, os.O_RDONLY)
        return self._open[path]
