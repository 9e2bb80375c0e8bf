"""A vectors file as NumPy's npz, for programs without safetensors: the same tensors by the same names."""

import io
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from steerkit.errors import UserError
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


def from_npz(path: Path) -> bytes:
    """The vectors file whose npz `path` is: what `to_npz` wrote, back. Nothing in it is run.

    Raises UserError for anything else; what the tensors and the header say is left to `load_vectors`.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name], order="C") for name in archive.files if name != "header"}
            return save(arrays, metadata={HEADER: str(archive["header"])})
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read as an npz of steerkit's: {error}. Export it again.") from error
