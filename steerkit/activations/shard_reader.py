"""Read rows of a store's files straight into memory that is already there, and tell the disk what comes next.

Not through the memory map: a mapped page costs a fault and counts as the process's memory; a read costs one copy.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steerkit.activations.row_ranges import Piece
from steerkit.errors import UserError

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
