"""Arrays that grow without bound, on disk: appended to, then read as memory maps."""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Spool:
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
