"""Read numbers out of a foreign pickle without running anything that it asks for.

A pickle is a program that may call any function. Here the names that a pickle of numpy vectors needs stand for small
makers of our own, which can make a dict or wrap the bytes of an array and nothing else; numpy itself is not called
either. Any other name is refused before it is even looked up.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save

from steerwright.errors import UserError
from steerwright.file_kind import begins_as_safetensors
from steerwright.former_name import header_of
from steerwright.vectors.formats.vectors_file import HEADER

# The vectors of SDXL at 50 steps are 18 MB.
LARGEST_FILE = 1 << 29
_FLOATS = {"f2", "f4", "f8"}
_BYTE_ORDERS = {"<", ">", "=", "|"}


class PickledArray:
    """An array of floats in a pickle: its `shape`, and `values` [n] in the file's precision, a view of the file."""

    __slots__ = ("shape", "values")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.values: npt.NDArray[Any] = np.zeros(0, np.float32)

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, _fortran, content = state
        self._fill(content, dtype, shape)

    def _fill(self, content: Any, dtype: Any, shape: Any) -> None:
        if not isinstance(dtype, _Dtype) or not isinstance(content, (bytes, bytearray)):
            raise UserError("arrays of objects are not read, only arrays of floats")
        if type(shape) is not tuple or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("an array's shape is no tuple of sizes")
        if len(content) != math.prod(shape) * dtype.found.itemsize:
            raise ValueError(f"an array of shape {shape} has {len(content)} bytes")
        self.shape, self.values = shape, np.frombuffer(content, dtype.found)


class _Dtype:
    __slots__ = ("found",)

    def __init__(self, code: Any) -> None:
        if code not in _FLOATS:
            raise UserError(f"arrays of type {str(code)[:20]!r} are not read, only floats")
        self.found: np.dtype[Any] = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if state[1] not in _BYTE_ORDERS:
            raise ValueError("unknown byte order")
        self.found = self.found.newbyteorder(state[1])


class _Stand:
    """Stands for one name. `make` is what calling it does; without one it is only ever an argument."""

    __slots__ = ("_make", "_name")

    def __init__(self, name: str, make: Callable[..., Any] | None = None) -> None:
        self._name, self._make = name, make

    def __call__(self, *given: Any) -> Any:
        if self._make is None:
            raise UserError(f"it calls {self._name}, which no vectors need")
        return self._make(*given)

    def __setstate__(self, _: Any) -> NoReturn:
        # A pickle may set the attributes of whatever it can reach, unless that says otherwise.
        raise UserError(f"it changes {self._name}, which no vectors need")


_LIST = _Stand("builtins.list")
_NDARRAY = _Stand("numpy.ndarray")


def _empty_array(kind: Any, _shape: Any, _code: Any) -> PickledArray:
    if kind is not _NDARRAY:
        raise UserError("it makes an array that is no numpy.ndarray")
    return PickledArray()


def _array_of_buffer(content: Any, dtype: Any, shape: Any, *_order: Any) -> PickledArray:
    array = PickledArray()
    array._fill(content, dtype, shape)
    return array


def _default_dict(factory: Any = None) -> dict[Any, Any]:
    if factory is not None and factory is not _LIST:
        raise UserError("it makes a defaultdict of something else than lists")
    return {}


def _latin(text: Any, encoding: Any) -> bytes:
    # How protocol 2, which has no bytes, writes them.
    if encoding != "latin1" or not isinstance(text, str):
        raise UserError("it encodes text, which no vectors need")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], _Stand] = {
    ("collections", "defaultdict"): _Stand("collections.defaultdict", _default_dict),
    ("builtins", "list"): _LIST,
    ("_codecs", "encode"): _Stand("_codecs.encode", _latin),
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Stand("numpy.dtype", lambda code, *_: _Dtype(code)),
}
for _package in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_package}.multiarray", "_reconstruct"] = _Stand("numpy's _reconstruct", _empty_array)
    _ALLOWED[f"{_package}.numeric", "_frombuffer"] = _Stand("numpy's _frombuffer", _array_of_buffer)


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # Protocol 2 writes the name that Python 2 had.
        module = "builtins" if module == "__builtin__" else module
        found = _ALLOWED.get((module, name))
        if found is None:
            raise UserError(f"it asks for {f'{module}.{name}'[:80]!r}, which no vectors need")
        return found

    def persistent_load(self, _: Any) -> NoReturn:
        raise UserError("it refers to objects outside the file")


def read_pickle(path: Path) -> Any:
    """What the pickle at `path` holds: dicts, lists, numbers, texts and `PickledArray`s; a defaultdict becomes a dict.

    Protocols 2 and newer. Raises UserError that names what the pickle asked for where that is anything else, and for a
    file that is missing, too large, cut short, or no pickle.
    """
    data = _content(path)
    try:
        _check_memo(data)
        return _Restricted(io.BytesIO(data)).load()
    except UserError as refusal:
        raise UserError(f"The pickle {path} was refused, and nothing in it was run: {refusal}.") from None
    except Exception as error:  # what a damaged pickle raises depends on the byte that is wrong
        raise UserError(f"The pickle {path} is damaged ({str(error)[:100] or type(error).__name__}).") from error


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise UserError(f"{path} has {size} bytes; a pickle of steering vectors has at most {LARGEST_FILE}.")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    if begins_as_safetensors(path):
        raise UserError(f"{path} is no pickle but a safetensors file; vectors in that format need no import.")
    if data[:1] == b"\x80":
        return data
    raise UserError(f"{path} is no pickle of protocol 2 or newer (those begin with the byte 80).")


def _check_memo(data: bytes) -> None:
    """Raise unless every instruction is whole and memo numbers are small: one large number makes Python reserve as much
    memory. Runs nothing."""
    for instruction, argument, _ in pickletools.genops(data):
        if instruction.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > len(data):
            raise ValueError(f"memo number {argument} in a file of {len(data)} bytes")


# A vectors file as NumPy's npz, for programs without safetensors: the same tensors by the same names.


def to_npz(path: Path) -> bytes:
    """The vectors file `path` as an npz: arrays `NAME.unit`, `NAME.norm`, `NAME.origin`, and the JSON text `header`.

    Nothing is lost, and numpy.load reads it with allow_pickle=False. `path` must be a file that `load_vectors` accepts.
    """
    with safe_open(str(path), framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        arrays["header"] = np.array(header_of(file.metadata()))
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
        raise UserError(f"{path} cannot be read as an npz of steerwright's: {error}. Export it again.") from error
