"""Running sums of a shard of contrast pairs on disk: safetensors with a JSON header. Normative: docs/formats.md."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from steerwright.activations.paired_moments import PairedMoments
from steerwright.errors import UserError
from steerwright.former_name import read_header
from steerwright.models.hookpoints import Hookpoint

SCHEMA = "steerwright.moments"
VERSION = 1
HEADER = "steerwright"
_PARTS = ("positive", "negative", "shuffled", "count")

Sums = dict[tuple[Hookpoint, str], PairedMoments]


@dataclass(frozen=True, slots=True, eq=False)
class MomentsShard:
    """Sums by hookpoint and branch, a key of all they depend on, the timestep of every step, and what else to say."""

    sums: Sums
    key: str
    timesteps: tuple[float, ...]
    provenance: Mapping[str, Any]


def save_moments(shard: MomentsShard, path: Path) -> None:
    """Write through a temporary file beside `path`; the same sums give the same bytes."""
    tensors, slots = {}, []
    for index, ((hookpoint, branch), sums) in enumerate(shard.sums.items()):
        slots.append({"name": f"{index:05d}", "hookpoint": str(hookpoint), "branch": branch})
        for part in _PARTS:
            tensors[f"{index:05d}.{part}"] = getattr(sums, part).cpu().contiguous()
    header = {
        "schema_name": SCHEMA,
        "schema_version": VERSION,
        "key": shard.key,
        "timesteps": shard.timesteps,
        "provenance": dict(shard.provenance),
        "slots": slots,
    }
    text = json.dumps(header, sort_keys=True, ensure_ascii=False)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(to_safetensors(tensors, metadata={HEADER: text}))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_moments(path: Path) -> MomentsShard:
    """Read a shard. Raises UserError for a file that is missing, damaged, or of another version."""
    try:
        with safe_open(str(path), framework="pt") as file:
            header = read_header(file.metadata())
            if (header.get("schema_name"), header.get("schema_version")) != (SCHEMA, VERSION):
                raise UserError(f"{path} holds no sums of version {VERSION} of the format; collect them again.")
            sums = {
                (Hookpoint.parse(slot["hookpoint"]), slot["branch"]): PairedMoments(
                    *(file.get_tensor(f"{slot['name']}.{part}") for part in _PARTS)
                )
                for slot in header["slots"]
            }
            return MomentsShard(sums, header["key"], tuple(header["timesteps"]), header["provenance"])
    except FileNotFoundError:
        raise UserError(f"There are no sums {path}; collect them again.") from None
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"The sums in {path} are damaged ({error}); collect them again.") from error


def key_of(path: Path) -> str | None:
    """The key of the shard in `path`; None where there is none, or none that can be read."""
    try:
        with safe_open(str(path), framework="pt") as file:
            header = read_header(file.metadata())
    except (OSError, SafetensorError, ValueError):
        return None
    same = (header.get("schema_name"), header.get("schema_version")) == (SCHEMA, VERSION)
    return str(header["key"]) if same and "key" in header else None


def merged(shards: list[MomentsShard]) -> MomentsShard:
    """Several shards as one. Raises UserError when they were collected differently, ValueError for none."""
    first, *rest = shards
    total: Sums = {
        slot: PairedMoments(*(getattr(sums, part).clone() for part in _PARTS)) for slot, sums in first.sums.items()
    }
    for shard in rest:
        if shard.timesteps != first.timesteps or shard.sums.keys() != total.keys():
            raise UserError("The shards of these sums were collected with other blocks or steps; collect them again.")
        for slot, sums in shard.sums.items():
            total[slot].merge(sums)
    return MomentsShard(total, first.key, first.timesteps, first.provenance)
