"""Vectors that others keep as plain tensors (safetensors, torch.save, NumPy, pickles of NumPy's): each at its layer.

- The lab of seed 003: `NAME_layer8_tensor.pt`, one vector [d], with `NAME_layer8_meta.json` beside it; the output of
  block `layer_idx`, blocks counted from 0, at the last token.
- Persona vectors (arXiv:2507.21509): `TRAIT_response_avg_diff.pt`, one tensor [blocks + 1, d] by the index of
  transformers' hidden_states: row 0 is the embeddings', row N the output of block N - 1.
- Tensors by the number of their layer: {12: [d]}, `layer_12`, `model.layers.12`, `direction.12`: the output of block
  12. Where the highest number is that of blocks, the numbers are those of hidden_states.

What a file does not say, `layers` has to; nothing is guessed. A vector's length is taken for its norm; origins and
controls are not known.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.file_kind import kind_of
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction, normalised
from steerwright.vectors.formats.restricted_pickle import PickledArray, read_pickle
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

ESTIMATOR = "imported-tensors"
LARGEST_FILE = 1 << 29
_PERSONA = re.compile(r"(.+)_(?:prompt_avg|response_avg|prompt_last)_diff")
_NUMBERED = re.compile(
    r"(?:(?:model|transformer|gpt_neox)\.)?(?:layers?|h|blocks?|direction)?[._-]?(\d{1,4})(?:[.:]out)?"
)
_RESIDUAL = re.compile(r"blocks\.(\d{1,4})\.hook_resid_(post|pre)")
_HIDDEN = re.compile(r"hidden(?:_states?)?[._-]?(\d{1,4})")
_IN_NAME = re.compile(r"(?:^|[_.-])layer[_-]?(\d{1,4})(?=[_.-]|$)")
_INNER = ("layer_activations", "vectors", "directions", "steering_vectors", "state_dict")
_LAYER_KEYS = ("layer", "layer_idx", "layer_index")


@dataclass(frozen=True, slots=True)
class PlainVectors:
    """What was read, and what a user who imports it should know."""

    vectors: SteeringVectors
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Model:
    fingerprint: Fingerprint
    hookpoints: Sequence[Hookpoint]
    width: int


def read_plain(
    path: Path, fingerprint: Fingerprint, hookpoints: Sequence[Hookpoint], width: int, *, concept: str | None = None,
    layers: Sequence[int] | None = None,
) -> PlainVectors:  # fmt: skip
    """The vectors of the file `path` for the model with `fingerprint` and `hookpoints`, one after each block.

    `concept`: what they lead towards, by default what the file or its name says; of a file of several concepts, which.
    `layers`: the block after which each vector belongs, from 0, in their order, where the file does not say. Nothing in
    it is run. Raises UserError for a file that is no vectors, not of this model's width or layers, not finite, or does
    not say what layers its vectors are of.
    """
    model = _Model(fingerprint, hookpoints, width)
    meta, meta_path = _meta(path)
    found: Any = _content(path)
    notes: list[str] = []
    stated = next((int(meta[key]) for key in _LAYER_KEYS if isinstance(meta.get(key), int)), None)
    if isinstance(found, Mapping):
        found, stated = _unwrapped(path, found, stated)
    if isinstance(found, Mapping) and len(found) > 1 and not any(_number(name) for name in found):
        found = _of_concept(path, found, concept)
    if isinstance(found, Mapping):
        by_layer = _named(path, found, model, layers, notes)
    else:
        by_layer = _one(path, _squeezed(found), model, layers, stated, notes)
    if meta_path is not None and isinstance(meta.get("norm"), (int, float)) and len(by_layer) == 1:
        _check_norm(path, meta_path, next(iter(by_layer.values())), float(meta["norm"]))
    directions: dict[VectorKey, Direction] = {}
    for layer, values in sorted(by_layer.items()):
        _check(path, layer, values, model)
        if values.any():
            directions[VectorKey(hookpoints[layer])] = normalised(values.float())
    if not directions:
        raise UserError(f"{path} holds no vector that is not zero, so there is nothing to steer by.")
    policy = "last" if meta_path is not None else "unknown"
    called = concept or (str(meta["name"]) if meta.get("name") else _called(path))
    return PlainVectors(SteeringVectors(called, fingerprint, ESTIMATOR, policy, directions), tuple(notes))


def _content(path: Path) -> Any:
    """Tensors by name, or one tensor, or whatever plain values a file of torch.save holds."""
    from steerwright.torch_file import is_torch_file, load_torch

    if path.stat().st_size > LARGEST_FILE:
        raise UserError(f"{path} has {path.stat().st_size >> 20} MiB; vectors for every layer have a few megabytes.")
    kind = kind_of(path)
    if kind is not None and kind.kind in ("npy", "npz"):
        return _numpy(path)
    if kind is not None and kind.kind == "pickle":
        return _tensors(read_pickle(path))
    if is_torch_file(path):
        return load_torch(path)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            tensors: dict[str, Any] = {name: file.get_tensor(name) for name in sorted(file.keys())}
            said = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}. Download or copy it again.") from error
    numbers = {key: int(said[key]) for key in _LAYER_KEYS if str(said.get(key, "")).isdigit()}
    return tensors | numbers


def _numpy(path: Path) -> Any:
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return torch.from_numpy(found)
        with found:
            return {name: torch.from_numpy(np.asarray(found[name], order="C")) for name in found.files}
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as arrays of NumPy: {error}. Download or copy it again.") from error


def _tensors(found: Any) -> Any:
    """What a pickle of dicts and lists holds, its arrays as tensors."""
    if isinstance(found, PickledArray):
        return torch.from_numpy(found.values.astype(np.float32)).reshape(found.shape)
    if isinstance(found, dict):
        return {name: _tensors(value) for name, value in found.items()}
    return found


def _meta(path: Path) -> tuple[Mapping[str, Any], Path | None]:
    """What seed 003's lab wrote beside the tensor; nothing where there is no such file."""
    if not path.stem.endswith("_tensor"):
        return {}, None
    beside = path.with_name(f"{path.stem.removesuffix('_tensor')}_meta.json")
    if not beside.is_file():
        return {}, None
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{beside} cannot be read: {error}. Copy it again, or delete it.") from error
    if not isinstance(found, dict):
        raise UserError(f"{beside} holds no JSON object. Copy it again, or delete it.")
    return found, beside


def _unwrapped(path: Path, found: Mapping[Any, Any], stated: int | None) -> tuple[Any, int | None]:
    """The tensors of a dict, or its only one; and the layer that it names beside them."""
    kind = found.get("layer_type")
    if kind not in (None, "decoder_block"):
        raise UserError(
            f"{path} holds vectors of {kind!r}; vectors are imported for the output of blocks (decoder_block)."
        )
    for key in _LAYER_KEYS:
        if isinstance(found.get(key), int) and not isinstance(found[key], bool):
            stated = int(found[key])
    for key in _INNER:
        if isinstance(found.get(key), (Mapping, Tensor)):
            inner = found[key]
            return (inner, stated) if isinstance(inner, Tensor) else _unwrapped(path, inner, stated)
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{path} holds no tensors, but {_names(found)}: no vectors.")
    if len(tensors) == 1 and _number(name := next(iter(tensors))) is None:
        return tensors[name], stated
    return tensors, stated


def _of_concept(path: Path, found: Mapping[Any, Any], concept: str | None) -> Any:
    if concept in found:
        return found[concept]
    raise UserError(
        f"{path} holds several tensors whose names are no numbers of layers ({_names(found)}). If they are of several "
        "concepts, say which with --concept; else name each by its layer: layer_0, layer_1, ..."
    )


def _one(
    path: Path, found: Any, model: _Model, layers: Sequence[int] | None, stated: int | None, notes: list[str]
) -> dict[int, Tensor]:
    """One vector [d], or one for each row [rows, d]."""
    if not isinstance(found, Tensor) or found.ndim not in (1, 2):
        what = f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise UserError(f"{path} holds {what}; vectors are [width] or [layers, width].")
    count = len(model.hookpoints)
    if found.ndim == 1:
        if layers is None and stated is None and (named := _IN_NAME.search(path.stem)):
            stated = int(named[1])
            notes.append(f"taken for the output of block {stated}, blocks counted from 0, as the file is called")
        if stated is not None and layers is not None and list(layers) != [stated]:
            raise UserError(f"{path} is of layer {stated}, as it says itself, and not of {_list(layers)}.")
        chosen = [stated] if stated is not None else layers
        if chosen is None or len(chosen) != 1:
            raise UserError(
                f"{path} holds one vector and does not say of which layer it is; use `steerwright vectors import` "
                f"with --layers N, the block after which it was taken, from 0 to {count - 1}."
            )
        return {chosen[0]: found}
    if layers is not None:
        if len(layers) != len(found):
            raise UserError(f"{path} holds {len(found)} vectors, but --layers names {len(layers)} layers.")
        return dict(zip(layers, found, strict=True))
    if len(found) != count + 1:
        raise UserError(
            f"{path} holds {len(found)} vectors, and {model.fingerprint.name} has {count} blocks: with {count + 1} "
            "they would be those of transformers' hidden_states, the embeddings' first. Say which block each was taken "
            f"after, from 0, by `steerwright vectors import` with --layers, as --layers 0-{count - 1}."
        )
    notes.append(
        "the first of its rows, the embeddings', is left out; row N is the output of block N - 1 (hidden_states)"
    )
    return {index - 1: row for index, row in enumerate(found) if index > 0}


def _named(
    path: Path, found: Mapping[Any, Any], model: _Model, layers: Sequence[int] | None, notes: list[str]
) -> dict[int, Tensor]:
    """Vectors by names that hold the number of their layer."""
    if layers is not None:
        raise UserError(f"{path} names the layers of its vectors itself ({_names(found)}); leave --layers out.")
    numbers = {name: _number(name) for name in found}
    odd = [str(name) for name, number in numbers.items() if number is None]
    if odd:
        raise UserError(f"{path} holds {', '.join(odd[:4])} among vectors that are named by layers. What are they?")
    # An index of hidden_states counts the embeddings as 0; the last of them tells it from the number of a block.
    known = {name: number for name, number in numbers.items() if number is not None}
    shifted = any(index == len(model.hookpoints) and not hidden for index, hidden in known.values())
    if shifted:
        notes.append("its numbers are those of hidden_states: N is the output of block N - 1, and 0 is left out")
    by_layer: dict[int, Tensor] = {}
    for name, (index, hidden) in known.items():
        layer = index - 1 if hidden or shifted else index
        if layer in by_layer:
            raise UserError(f"{path} holds several vectors for layer {layer}.")
        if layer >= 0:
            by_layer[layer] = _squeezed(found[name])
    return by_layer


def _number(name: Any) -> tuple[int, bool] | None:
    """The number in the name of a tensor, and whether it is an index of hidden_states; None where there is none."""
    if isinstance(name, int):
        return name, False
    text = str(name)
    if found := _RESIDUAL.fullmatch(text):
        return int(found[1]), found[2] == "pre"
    if found := _HIDDEN.fullmatch(text):
        return int(found[1]), True
    found = _NUMBERED.fullmatch(text)
    return (int(found[1]), False) if found else None


def _check(path: Path, layer: int, values: Tensor, model: _Model) -> None:
    count, name = len(model.hookpoints), model.fingerprint.name
    if not 0 <= layer < count:
        raise UserError(
            f"{path} has a vector for layer {layer}, but {name} has layers 0 to {count - 1}; it is of another model."
        )
    if values.ndim != 1 or len(values) != model.width:
        raise UserError(
            f"{path}: the vector of layer {layer} has the shape {list(values.shape)}, but {name} is {model.width} "
            "wide; it is of another model."
        )
    if not values.is_floating_point() or not bool(torch.isfinite(values).all()):
        raise UserError(f"{path}: the vector of layer {layer} holds values that are not finite numbers.")


def _check_norm(path: Path, meta: Path, values: Tensor, norm: float) -> None:
    length = float(values.double().norm())
    # Half precision is off by a thousandth.
    if abs(length - norm) > 0.01 * max(norm, 1e-6):
        raise UserError(f"{path} is {length:.4g} long, but {meta.name} says {norm:.4g}: they belong to two vectors.")


def _squeezed(found: Any) -> Any:
    """[layers, 1, d] and [1, d] as [layers, d] and [d]."""
    if isinstance(found, Tensor) and found.ndim > 1:
        kept = [size for size in found.shape[:-1] if size != 1]
        return found.reshape(*kept, found.shape[-1])
    return found


def _called(path: Path) -> str:
    stem = path.stem.removesuffix("_tensor")
    if found := _PERSONA.fullmatch(stem):
        return found[1]
    return re.sub(r"[_.-]layer[_-]?\d+$", "", stem) or stem


def _names(found: Mapping[Any, Any]) -> str:
    return ", ".join(str(name)[:40] for name in list(found)[:8]) + (", ..." if len(found) > 8 else "")


def _list(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))
