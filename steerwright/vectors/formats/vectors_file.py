"""Steering vectors on disk: safetensors with a JSON header; docs/formats.md is the normative description."""

import json
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from steerwright.errors import UserError
from steerwright.file_kind import PLAIN, begins_as_safetensors, kind_of
from steerwright.former_name import current, header_of
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

SCHEMA: Literal["steerwright.vectors"] = "steerwright.vectors"
VERSION: Literal[2] = 2
# One metadata key only: safetensors does not keep the order of several, and equal vectors must be equal bytes.
HEADER = "steerwright"


class SlotEntry(BaseModel):
    """One direction: where it belongs, and the name under which its tensors `NAME.unit`, `NAME.norm`, ... are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    hookpoint: str
    tokens: str
    steps: tuple[int, int] | None = None
    branch: str | None = None
    control: float | None = None


class Header(BaseModel):
    """What the file says about its tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_name: Literal["steerwright.vectors"]
    schema_version: Literal[2]
    concept: str
    model: Fingerprint
    estimator: str
    token_policy: str
    timesteps: tuple[float, ...] | None
    slots: tuple[SlotEntry, ...]


def save_vectors(vectors: SteeringVectors, path: Path) -> None:
    """Write `vectors` to `path`, through a temporary file beside it, so that no half-written file stays.

    The same vectors give the same bytes.
    """
    tensors: dict[str, Tensor] = {}
    entries = []
    for index, (slot, direction) in enumerate(vectors.directions.items()):
        name = f"{index:05d}"
        # Copies: safetensors refuses tensors that share memory, as one vector for several slots does.
        tensors[f"{name}.unit"] = direction.unit.cpu().clone()
        tensors[f"{name}.norm"] = direction.norm.cpu().clone()
        if direction.origin is not None:
            tensors[f"{name}.origin"] = direction.origin.cpu().clone()
        entries.append(
            SlotEntry(
                name=name,
                hookpoint=str(slot.hookpoint),
                tokens=slot.tokens,
                steps=slot.steps,
                branch=slot.branch,
                control=vectors.controls.get(slot),
            )
        )
    header = Header(
        schema_name=SCHEMA,
        schema_version=VERSION,
        concept=vectors.concept,
        model=vectors.model,
        estimator=vectors.estimator,
        token_policy=vectors.token_policy,
        timesteps=vectors.timesteps,
        slots=tuple(entries),
    )
    text = json.dumps(header.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(to_safetensors(tensors, metadata={HEADER: text}))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_vectors(path: Path, fingerprint: Fingerprint | None = None) -> SteeringVectors:
    """Read the vectors of `path`; nothing in the file is ever executed.

    With `fingerprint`, vectors of any other model are refused. Raises UserError for a file that is missing, that is
    not safetensors (a pickle, for example), that holds no steering vectors or damaged ones, or that is refused.
    """
    if not path.is_file():
        raise UserError(f"There is no vectors file {path}. Fit vectors first, or correct the path.")
    refuse_foreign_format(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            header = _header(path, header_of(file.metadata()))
            if fingerprint is not None and not header.model.same_model(fingerprint):
                raise UserError(
                    f"The vectors in {path} were fitted on {_described(header.model)}, but the model to steer is "
                    f"{_described(fingerprint)}.{header.model.difference(fingerprint)} Fit them on this model, or "
                    "choose the other one."
                )
            if fingerprint is not None:
                header.model.note_beside(fingerprint, f"The vectors in {path}")
            known = set(file.keys())
            directions, controls = {}, {}
            for entry in header.slots:
                slot = VectorKey(Hookpoint.parse(entry.hookpoint), entry.tokens, entry.steps, entry.branch)
                parts = [f"{entry.name}.unit", f"{entry.name}.norm", f"{entry.name}.origin"]
                directions[slot] = Direction(
                    *(file.get_tensor(part).float() for part in parts if part in known or part != parts[2])
                )
                if entry.control is not None:
                    controls[slot] = entry.control
        return SteeringVectors(
            header.concept,
            header.model,
            header.estimator,
            header.token_policy,
            directions,
            timesteps=header.timesteps,
            controls=controls,
        )
    except (SafetensorError, ValueError) as error:
        raise UserError(f"The vectors in {path} are damaged: {error}. Fit or download them again.") from error


def refuse_foreign_format(path: Path) -> None:
    """Raise UserError unless `path` begins as a safetensors file does; reads nine bytes and runs nothing."""
    if begins_as_safetensors(path):
        return
    with path.open("rb") as file:
        start = file.read(2)
    kind = "is not a safetensors file"
    if start[:1] == b"\x80" or start[:2] == b"PK":
        kind = "is a pickle or a torch.save archive, which could run any code, so it was not opened"
    raise UserError(
        f"{path} {kind}. {_what_else(path)}Steering vectors are read from safetensors only, as docs/formats.md "
        "describes."
    )


def _what_else(path: Path) -> str:
    """What a file that is no vectors file is, if that can be told, and what to do with it; a sentence, or nothing."""
    found = kind_of(path)
    if found is None:
        return ""
    if found.kind in PLAIN | {"pickle", "gguf"}:
        return "If it holds vectors of another program, `steerwright vectors import` reads it and runs nothing in it. "
    return f"It is {found.words}. "


def _header(path: Path, text: str | None) -> Header:
    if text is None:
        missing = f"{path} holds tensors but no steering vectors: its {HEADER!r} header is missing."
        raise UserError(f"{missing} {_what_else(path)}".rstrip())
    found = current(json.loads(text))
    if not isinstance(found, dict) or found.get("schema_name") != SCHEMA:
        raise UserError(f"{path} does not hold steering vectors but {str(found)[:80]}.")
    if found.get("schema_version") != VERSION:
        raise UserError(
            f"{path} is written in version {found.get('schema_version')} of the vectors format; this steerwright reads "
            f"version {VERSION}. Use the steerwright that wrote it, or fit the vectors again."
        )
    try:
        return Header.model_validate(found)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise UserError(f"The header of {path} is damaged at {fields}. Fit or download the vectors again.") from error


def _described(model: Fingerprint) -> str:
    return f"{model.name} from {model.source} (fingerprint {model.digest[:12]})"
