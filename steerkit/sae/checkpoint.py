"""Where training stands, in one safetensors file with a JSON header: all of it or the one before, never a pickle."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

SCHEMA = "steerkit.sae-training"
VERSION = 1
# One metadata key only: safetensors does not keep the order of several, and equal states must be equal bytes.
HEADER = "steerkit"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """`states`: by autoencoder, the tensors that its trainee needs to go on. `facts`: JSON: step, cursor, curves.

    `key` names everything that the training depends on; with another key a checkpoint is of another training.
    """

    key: str
    states: Mapping[str, Mapping[str, Tensor]]
    facts: Mapping[str, Any]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Replace `path` by rename, when all bytes are on the disk: a kill leaves the earlier checkpoint or this one."""
    header = {
        "schema_name": SCHEMA,
        "schema_version": VERSION,
        "key": checkpoint.key,
        "saes": [[name, sorted(state)] for name, state in checkpoint.states.items()],
        "facts": dict(checkpoint.facts),
    }
    tensors = {
        f"{place}.{part}": state[part].detach().cpu().contiguous()
        for place, state in enumerate(checkpoint.states.values())
        for part in sorted(state)
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_over in path.parent.glob(f".{path.name}.*"):
        left_over.unlink()
    try:
        save_file(tensors, temporary, metadata={HEADER: json.dumps(header, sort_keys=True, ensure_ascii=False)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, key: str) -> Checkpoint | None:
    """The checkpoint of this training in `path`; None where there is none, and (with a word in the log) for others.

    Tensors are on the CPU, in memory of their own that is aligned as torch aligns it: how a product is summed, and so
    its last bit, may depend on that.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
            found = (header.get("schema_name"), header.get("schema_version"), header.get("key"))
            if found != (SCHEMA, VERSION, key):
                log.info("%s is of another training, which starts afresh", path)
                return None
            states = {
                name: {part: _own(file.get_tensor(f"{place}.{part}")) for part in parts}
                for place, (name, parts) in enumerate(header["saes"])
            }
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        log.warning("%s is damaged (%s); training starts afresh", path, error)
        return None
    return Checkpoint(key, states, header["facts"])


def _own(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor).copy_(tensor)
