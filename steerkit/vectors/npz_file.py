"""A vectors file as NumPy's npz, for programs without safetensors: the same tensors by the same names."""

import io
from pathlib import Path

import numpy as np
from safetensors import safe_open

from steerkit.vectors.vectors_file import HEADER


def to_npz(path: Path) -> bytes:
    """The vectors file `path` as an npz: arrays `NAME.unit`, `NAME.norm`, `NAME.origin`, and the JSON text `header`.

    Nothing is lost, and numpy.load reads it with allow_pickle=False. `path` must be a file that `load_vectors` accepts.
    """
    with safe_open(str(path), framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        arrays["header"] = np.array(file.metadata()[HEADER])
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()
