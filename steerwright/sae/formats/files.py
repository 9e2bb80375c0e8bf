"""What lies at the path of a checkpoint: its file of weights, and what is beside it."""

import json
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from steerwright.errors import UserError
from steerwright.file_kind import kind_of
from steerwright.files import LFS_WORDS, is_lfs_pointer
from steerwright.torch_file import is_npz_file, is_torch_file, load_torch

SUFFIXES = (".safetensors", ".pt", ".pth", ".pkl", ".bin")
_ARCHIVE = "params.npz"
# What the libraries put beside an autoencoder's weights.
_BESIDE = {
    "activation_whitening.safetensors",
    "activations_store_state.safetensors",
    "mean.pt",
    "sparsity.safetensors",
    "state.pt",
    "std.pt",
    "trainer_state.pt",
}
_BESIDE_STARTS = ("optimizer", "lr_scheduler", "rank_")
Config = TypeVar("Config", bound=BaseModel)


class CheckpointFiles:
    """A file of weights, given by itself or by the folder that it is the only one of. Read when first asked for."""

    def __init__(self, path: Path) -> None:
        """Raise UserError where there is nothing at `path`, or not one file of weights."""
        if not path.exists():
            raise UserError(f"There is no checkpoint {path}. Correct the path.")
        self.path = path
        self.weights = path if path.is_file() else _weights_in(path)
        self.folder = self.weights.parent
        self._read: set[Path] = set()

    @property
    def files(self) -> list[Path]:
        """The files that were read, weights first."""
        return [self.weights, *sorted(self._read - {self.weights})]

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """What the file of weights holds, by name: tensors of a safetensors file, anything plain of a torch.save."""
        if self.is_npz:
            return _npz(self.weights)
        if self.is_torch:
            found = load_torch(self.weights)
            if not isinstance(found, Mapping):
                raise UserError(
                    f"{self.weights} holds a {type(found).__name__}, not tensors by name: no "
                    "autoencoder. Steering vectors are read by `steerwright vectors import`."
                )
            return {str(name): value for name, value in found.items()}
        return self._safetensors(self.weights)

    @cached_property
    def is_npz(self) -> bool:
        """Whether the weights are an archive of NumPy."""
        return is_npz_file(self.weights)

    @cached_property
    def is_torch(self) -> bool:
        """Whether the weights are a file of torch.save, neither safetensors nor npz."""
        return is_torch_file(self.weights) and not self.is_npz

    def raw(self, name: str) -> dict[str, Any] | None:
        """The JSON object in the file `name` beside the weights; None where there is none."""
        return self._json(self.folder / name)

    def raw_above(self, name: str) -> dict[str, Any] | None:
        """The same, of the folder above."""
        return self._json(self.folder.resolve().parent / name)

    def config(self, name: str, kind: type[Config]) -> Config:
        """The JSON object in the file `name` beside the weights. UserError where there is none, or not a `kind`."""
        found = self.raw(name)
        if found is None:
            raise UserError(f"{self.weights} has no {name} beside it, and without that it is not known how to use it.")
        return validated(kind, found, self.folder / name)

    def beside(self, name: str) -> Mapping[str, Any] | None:
        """Tensors by name in the file `name` beside the weights (`tensor` where it is just one); None without it."""
        path = self.folder / name
        if not path.is_file():
            return None
        self._read.add(path)
        if not is_torch_file(path):
            return self._safetensors(path)
        found = load_torch(path)
        return found if isinstance(found, Mapping) else {"tensor": found}

    def _json(self, path: Path) -> dict[str, Any] | None:
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            if is_lfs_pointer(path):
                raise UserError(f"{path} is {LFS_WORDS}.") from error
            raise UserError(f"{path} cannot be read: {error}. Download or copy it again.") from error
        if not isinstance(found, dict):
            raise UserError(f"{path} holds no JSON object. Download or copy it again.")
        self._read.add(path)
        return found

    @staticmethod
    def _safetensors(path: Path) -> dict[str, Tensor]:
        try:
            with safe_open(str(path), framework="pt") as file:
                return {name: file.get_tensor(name) for name in sorted(file.keys())}
        except (SafetensorError, OSError) as error:
            if (other := kind_of(path)) is not None:
                raise UserError(f"{path} is {other.words}.") from error
            raise UserError(
                f"{path} is neither safetensors nor a file of torch.save ({error}). Download or copy it again."
            ) from error


def _npz(path: Path) -> dict[str, Any]:
    """Arrays of floats as tensors by name; nothing is run, as object arrays are refused."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: torch.from_numpy(np.asarray(archive[name], order="C")) for name in archive.files}
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as an npz of arrays: {error}. Download or copy it again.") from error


def validated(kind: type[Config], found: Mapping[str, Any], place: Path | str) -> Config:
    """`found` as a `kind`; UserError that says which of its fields cannot be, and why."""
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "it"
        raise UserError(
            f"{place}: {field}: {first['msg']}. Is it of this format? Give another with --format."
        ) from error


def _weights_in(folder: Path) -> Path:
    found = sorted(path for path in folder.iterdir() if _is_weights(path) and not path.name.startswith("."))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise UserError(f"{folder} holds several files of weights: {names}. Give one of them.")
    inner = sorted(
        path.name for path in folder.iterdir() if path.is_dir() and any(_is_weights(p) for p in path.iterdir())
    )
    where = f" It has {', '.join(inner[:8])} in it: give one of these." if inner else ""
    raise UserError(f"{folder} holds no file of weights ({', '.join((*SUFFIXES, _ARCHIVE))}).{where}")


def _is_weights(path: Path) -> bool:
    if path.name == _ARCHIVE:
        return True
    return path.suffix in SUFFIXES and path.name not in _BESIDE and not path.name.startswith(_BESIDE_STARTS)


# Why an autoencoder cannot be written in a format.


class Unfit(Exception):
    """What the autoencoder has that the format does not; a part of a sentence: "it has a skip connection, ..."."""
