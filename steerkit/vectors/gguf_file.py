"""Control vectors in GGUF, as llama.cpp, repeng and EasySteer read and write them. Normative: docs/formats.md.

`direction.N` is added to the residual stream after block N, blocks counted from 0 (repeng's layer N is
hidden_states[N + 1]; llama.cpp adds it at the end of layer il = N). llama.cpp refuses a file with a `direction.0`, and
repeng never trains one: the first block's vector has no place in the format.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from steerkit.errors import UserError
from steerkit.models.fingerprint import Fingerprint
from steerkit.models.hookpoint import Hookpoint
from steerkit.vectors.direction import Direction, normalised
from steerkit.vectors.gguf_layout import CONTROL_VECTORS as ARCHITECTURE
from steerkit.vectors.gguf_layout import read_layout
from steerkit.vectors.steering_vectors import Slot, SteeringVectors, layer_number

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
        writer = GGUFWriter(temporary, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", model_hint)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(kept))
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
    if layout.architecture != ARCHITECTURE:
        what = "a LoRA adapter for a model" if layout.kind == "adapter" else "a model or another thing"
        raise UserError(
            f"{path} is a GGUF file of {layout.architecture!r}, not of control vectors (architecture "
            f"{ARCHITECTURE!r}): {what} of llama.cpp's."
        )
    directions: dict[Slot, Direction] = {}
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
            directions[Slot(hookpoints[layer])] = normalised(torch.from_numpy(values))
    if not directions:
        raise UserError(f"{path} holds no direction that is not zero, so there is nothing to steer by.")
    if len({direction.width for direction in directions.values()}) > 1:
        raise UserError(f"{path} is damaged: its directions are not equally wide.")
    return SteeringVectors(concept, fingerprint, "imported-gguf", "unknown", directions)


def _layer(name: str) -> int | None:
    found = _DIRECTION.fullmatch(name)
    return int(found.group(1)) if found else None
