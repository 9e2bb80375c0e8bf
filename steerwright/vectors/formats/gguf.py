"""Control vectors in GGUF, as llama.cpp, repeng and EasySteer read and write them. Normative: docs/formats.md.

`direction.N` is added to the residual stream after block N, blocks counted from 0 (repeng's layer N is
hidden_states[N + 1]; llama.cpp adds it at the end of layer il = N). llama.cpp refuses a file with a `direction.0`, and
repeng never trains one: the first block's vector has no place in the format.
"""

from __future__ import annotations

import math
import os
import re
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction, normalised
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey, layer_number

REMOVAL = (
    "these are removal vectors, made to be projected out of every token. llama.cpp and repeng only add, which does "
    "something else with either sign; in EasySteer take the algorithm erase, not direct. To have the concept added, "
    "export the concept's own vectors"
)
_DIRECTION = re.compile(r"direction\.(\d{1,6})")


def write_gguf(vectors: SteeringVectors, path: Path, model_hint: str) -> tuple[int, ...]:
    """Write `vectors`, each as long as it is (unit times norm), float32; the layers that had to be left out.

    `model_hint` is the model's type as its config names it (mistral, phi3). The same vectors give the same bytes; no
    half-written file stays. Lost are the concept, origins, controls and which model exactly they are of. A Python
    warning tells of removal vectors, which readers of the file add. Raises UserError for vectors that are not one
    direction per layer, and where only the first layer has one.
    """
    from gguf import GGUFWriter

    if vectors.for_removal:
        warnings.warn(f"{vectors.concept!r}: {REMOVAL}.", stacklevel=2)
    by_layer: dict[int, Direction] = {}
    for slot, direction in vectors.directions.items():
        layer = layer_number(slot.hookpoint)
        if layer is None or slot.hookpoint.where != "out" or direction.per_position or layer in by_layer:
            raise UserError(
                f"The {vectors.concept!r} vectors are not one per layer of a language model ({slot.hookpoint}, "
                f"{slot.tokens} tokens), which is all that GGUF holds."
            )
        by_layer[layer] = direction
    left_out = tuple(layer for layer in by_layer if layer == 0)
    kept = {layer: by_layer[layer] for layer in sorted(by_layer) if layer > 0}
    if not kept:
        raise UserError(f"The {vectors.concept!r} vectors are of the first layer alone, which GGUF has no place for.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        writer = GGUFWriter(temporary, CONTROL_VECTORS)
        writer.add_string(f"{CONTROL_VECTORS}.model_hint", model_hint)
        writer.add_uint32(f"{CONTROL_VECTORS}.layer_count", len(kept))
        for layer, direction in kept.items():
            writer.add_tensor(f"direction.{layer}", (direction.norm * direction.unit).float().cpu().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return left_out


def read_gguf(
    path: Path, fingerprint: Fingerprint, hookpoints: Sequence[Hookpoint], concept: str, width: int | None = None
) -> SteeringVectors:
    """Vectors of the file for the model with `fingerprint` and `hookpoints` (the residual stream after each block).

    A GGUF file does not say which model it is of: that is on who imports it, except that layers must exist and be
    `width` wide where it is given. What is not in the file stays unknown: there are no origins and no controls, and
    the length of each vector is taken for its norm. Vectors of zeros get no slot. Raises UserError for files that are
    damaged, not control vectors, or of a model of other layers.
    """
    layout = read_layout(path)
    if layout.architecture != CONTROL_VECTORS:
        what = "a LoRA adapter for a model" if layout.kind == "adapter" else "a model or another thing"
        raise UserError(
            f"{path} is a GGUF file of {layout.architecture!r}, not of control vectors (architecture "
            f"{CONTROL_VECTORS!r}): {what} of llama.cpp's."
        )
    directions: dict[VectorKey, Direction] = {}
    found = {layer: values for name, values in layout.tensors.items() if (layer := _layer(name)) is not None}
    for layer, values in sorted(found.items()):
        if layer >= len(hookpoints):
            raise UserError(
                f"{path} has a direction for layer {layer}, but {fingerprint.name} has layers 0 to "
                f"{len(hookpoints) - 1}; it is of another model."
            )
        if values.ndim != 1 or len(values) != (width or len(values)):
            raise UserError(
                f"{path}: direction.{layer} has the shape {list(values.shape)}, but {fingerprint.name} is {width} "
                "wide; it is of another model."
            )
        if not np.isfinite(values).all():
            raise UserError(f"{path}: direction.{layer} holds values that are not finite.")
        if values.any():
            directions[VectorKey(hookpoints[layer])] = normalised(torch.from_numpy(values))
    if not directions:
        raise UserError(f"{path} holds no direction that is not zero, so there is nothing to steer by.")
    if len({direction.width for direction in directions.values()}) > 1:
        raise UserError(f"{path} is damaged: its directions are not equally wide.")
    return SteeringVectors(concept, fingerprint, "imported-gguf", "unknown", directions)


def _layer(name: str) -> int | None:
    found = _DIRECTION.fullmatch(name)
    return int(found.group(1)) if found else None


# Read a small GGUF file from any source, without trusting a number in it.
#
# The reader of the gguf package believes the counts and lengths that a file claims, and a few bytes can make it count
# for years. Here every length is held against the bytes that are left. Layout: the page "GGUF" of ggml's documentation.

LARGEST_FILE = 1 << 28
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
# Value types by their number: struct's letters; 8 is a string, 9 an array.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
# Tensor types by their number; others are quantised, which directions are not.
_TENSORS: dict[int, npt.DTypeLike] = {0: "<f4", 1: "<f2", 28: "<f8", 30: "<u2"}
# The upper half of a float32, which NumPy has no type for.
_BFLOAT16 = 30
CONTROL_VECTORS = "controlvector"
# Of a larger file so much is read as says what it is.
_START = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class GgufLayout:
    """The architecture that a file names, and its tensors as float32; none of a file that is no control vectors'.

    `kind`: the file's general.type (model, adapter), where it has one.
    """

    architecture: str
    tensors: dict[str, npt.NDArray[np.float32]]
    kind: str = ""


class _Damaged(Exception):
    """What is wrong with a file."""


class _Unread(Exception):
    """What a whole file has that is not read here."""


def read_layout(path: Path) -> GgufLayout:
    """Read `path`; nothing in it is run, and no more memory is taken than it has bytes.

    Raises UserError for a file that is missing, no GGUF, or damaged, and for control vectors of more than 256 MiB or
    with quantised tensors. Of a model's file, which has both, its architecture is read.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}; correct the path.")
    size = path.stat().st_size
    if size > LARGEST_FILE:
        with path.open("rb") as file:
            other = _other_architecture(file.read(_START))
        if other is not None:
            return other
        raise UserError(f"{path} has {size >> 20} MiB; a file of control vectors has a few megabytes at most.")
    content = path.read_bytes()
    if content[:4] != _MAGIC:
        raise UserError(f"{path} is no GGUF file.")
    try:
        return _layout(_Bytes(content))
    except _Unread as error:
        raise UserError(f"{path} is not read: {error}.") from error
    except (_Damaged, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged: {error}. Download or export it again.") from error


class _Bytes:
    """A file's bytes and how far they are read."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, len(_MAGIC)

    @property
    def left(self) -> int:
        return len(self.content) - self.place

    def scalar(self, letter: str) -> Any:
        length = struct.calcsize(f"<{letter}")
        return struct.unpack(f"<{letter}", self.take(length))[0]

    def count(self, smallest: int) -> int:
        """A number of things that take at least `smallest` bytes each."""
        found = int(self.scalar("Q"))
        if found * smallest > self.left:
            raise _Damaged(f"it claims {found} entries where {self.left} bytes are left")
        return found

    def text(self) -> str:
        return self.take(self.count(1)).decode("utf-8")

    def take(self, length: int) -> bytes:
        if length > self.left:
            raise _Damaged(f"it ends after {len(self.content)} bytes, in the middle of something")
        self.place += length
        return self.content[self.place - length : self.place]


def _other_architecture(start: bytes) -> GgufLayout | None:
    """What a file that begins so is, if it says that and is no control vectors'."""
    values: dict[str, Any] = {}
    if start[:4] == _MAGIC:
        try:
            file = _Bytes(start)
            _, _, count = file.scalar("I"), file.scalar("Q"), file.scalar("Q")
            for _ in range(count):
                name = file.text()
                values[name] = _value(file, file.scalar("I"))
        except (_Damaged, UnicodeDecodeError):
            pass  # cut in its vocabulary, which comes after its architecture
    architecture = str(values.get("general.architecture", ""))
    if architecture in ("", CONTROL_VECTORS):
        return None
    return GgufLayout(architecture, {}, str(values.get("general.type", "")))


def _layout(file: _Bytes) -> GgufLayout:
    version = file.scalar("I")
    if version not in _VERSIONS:
        swapped = int.from_bytes(int(version).to_bytes(4, "little"), "big")
        if version != 1 and swapped not in (1, *_VERSIONS):
            raise _Damaged(f"it is of version {version}, and versions 2 and 3 are known (little-endian)")
        order = " in big-endian order" if version != 1 else ""
        raise _Unread(
            f"it is of version {min(version, swapped)}{order}, and versions 2 and 3 are known (little-endian); export "
            "it again with a newer program"
        )
    tensor_count, value_count = file.count(24), file.count(12)
    values = {}
    for _ in range(value_count):
        name = file.text()
        values[name] = _value(file, file.scalar("I"))
    architecture, kind = (str(values.get(f"general.{name}", "")) for name in ("architecture", "type"))
    if architecture not in ("", CONTROL_VECTORS):
        return GgufLayout(architecture, {}, kind)
    infos = [_tensor_info(file) for _ in range(tensor_count)]
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 16:
        raise _Damaged(f"its alignment is {alignment!r}")
    start = math.ceil(file.place / alignment) * alignment
    tensors = {name: _tensor(file.content, start, shape, kind, at) for name, shape, kind, at in infos}
    if len(tensors) != len(infos):
        raise _Damaged("it names a tensor twice")
    return GgufLayout(architecture, tensors, kind)


def _value(file: _Bytes, kind: int) -> Any:
    if kind in _SCALARS:
        return file.scalar(_SCALARS[kind])
    if kind == _STRING:
        return file.text()
    if kind == _ARRAY:
        inner = file.scalar("I")
        if inner == _ARRAY:
            raise _Damaged("it holds an array of arrays")
        return [_value(file, inner) for _ in range(file.count(1))]
    raise _Damaged(f"it holds a value of the unknown type {kind}")


def _tensor_info(file: _Bytes) -> tuple[str, tuple[int, ...], int, int]:
    name = file.text()
    dimensions = file.scalar("I")
    if dimensions > 4:
        raise _Damaged(f"{name!r} has {dimensions} dimensions")
    # The innermost dimension comes first.
    shape = tuple(int(file.scalar("Q")) for _ in range(dimensions))[::-1]
    return name, shape, int(file.scalar("I")), int(file.scalar("Q"))


def _tensor(content: bytes, start: int, shape: tuple[int, ...], kind: int, offset: int) -> npt.NDArray[np.float32]:
    if kind not in _TENSORS:
        raise _Unread(
            f"a tensor is of type {kind}, which is quantised or whole numbers; directions are floats. Export it again "
            "as F32, F16 or BF16"
        )
    dtype = np.dtype(_TENSORS[kind])
    count = math.prod(shape)
    if start + offset + count * dtype.itemsize > len(content):
        raise _Damaged("a tensor lies beyond its end")
    values = np.frombuffer(content, dtype, count, start + offset).reshape(shape)
    if kind == _BFLOAT16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)
