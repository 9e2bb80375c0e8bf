"""Latents and reconstructions of rows in a file, for anyone who reads NumPy's formats."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from steerkit.errors import UserError
from steerkit.sae.sae import Sae

_PRE_ACTIVATIONS = 1 << 26


def read_rows(path: Path, width: int) -> npt.NDArray[Any]:
    """The array [rows, width] of floats in the .npy file `path`, mapped. UserError where it holds anything else."""
    if not path.is_file():
        raise UserError(
            f"There is no file of rows {path}. Save an array [rows, {width}] with numpy.save, or correct it."
        )
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}. Save the rows with numpy.save, as one array.") from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise UserError(f"{path} holds several arrays; save the rows alone, with numpy.save.")
    _check_rows(found, width, str(path))
    return found


def _check_rows(found: npt.NDArray[Any], width: int, where: str) -> None:
    if found.ndim != 2 or found.dtype.kind != "f":
        raise UserError(f"{where} holds {found.dtype} of shape {list(found.shape)}; rows are floats [rows, {width}].")
    if found.shape[1] != width:
        raise UserError(f"The rows in {where} are {found.shape[1]} wide, but the autoencoder is for {width}.")


def encode_rows(sae: Sae, rows: npt.NDArray[Any] | Tensor) -> dict[str, npt.NDArray[Any]]:
    """`indices` int64 and `values` [rows, most active latents of a row] and `reconstruction` of `rows` [rows, d].

    A row's most active latents come first; unused places are -1 and 0. Computed in float32, in float64 only where the
    weights are. UserError for rows that are not floats of the autoencoder's width, or not finite.
    """
    if isinstance(rows, Tensor):
        # NumPy has no bfloat16.
        rows = (rows.float() if rows.dtype == torch.bfloat16 else rows).detach().cpu().numpy()
    rows = np.asanyarray(rows)
    _check_rows(rows, sae.width, "the array")
    batch = max(1, min(len(rows), _PRE_ACTIVATIONS // sae.size))
    indices: list[Tensor] = []
    values: list[Tensor] = []
    dtype = torch.promote_types(sae.encoder.dtype, torch.float32)
    reconstruction = np.zeros(rows.shape, np.float64 if dtype == torch.float64 else np.float32)
    for start in range(0, len(rows), batch):
        piece = torch.from_numpy(np.array(rows[start : start + batch])).to(dtype)
        if not bool(torch.isfinite(piece).all()):
            first = start + int((~torch.isfinite(piece)).any(1).nonzero()[0])
            raise UserError(f"Row {first} holds what is not a finite number; leave such rows out.")
        latents, decoded = sae.reconstruct(piece)
        indices.append(latents.indices)
        values.append(latents.values)
        reconstruction[start : start + batch] = decoded.numpy()
    used = max((int(piece.ge(0).sum(1).max()) for piece in indices if piece.numel()), default=0)
    return {
        "indices": _joined(indices, used, -1),
        "values": _joined(values, used, 0).astype(reconstruction.dtype),
        "reconstruction": reconstruction,
    }


def write_npz(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """The whole file or none. UserError where it cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _joined(pieces: list[Tensor], places: int, unused: int) -> npt.NDArray[Any]:
    """The first `places` of all pieces [rows, any], one under the other; `unused` where a piece has fewer."""
    if not pieces:
        return np.zeros((0, places), np.int64)
    cut = [piece[:, :places] for piece in pieces]
    joined: npt.NDArray[Any] = torch.cat(
        [functional.pad(piece, (0, places - piece.shape[1]), value=unused) for piece in cut]
    ).numpy()
    return joined
