"""What a model is, in a hash: so that vectors and activations of one model are never used on another."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from steerkit.models.hub import Sourced, model_folder, resolve_commit

_LIBRARIES = ("torch", "diffusers", "transformers")
_CHUNK = 1 << 20


class Fingerprint(BaseModel):
    """Identity of a model's weights. `digest` decides whether two are the same; the rest is for people to read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    revision: str | None
    digest: str
    libraries: dict[str, str]

    def same_model(self, other: Fingerprint) -> bool:
        """Whether both are the same weights, whatever they are called and whatever libraries ran them."""
        return self.digest == other.digest

    def write(self, path: Path) -> None:
        """Write as JSON with sorted keys."""
        path.write_text(json.dumps(self.model_dump(), indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Fingerprint:
        return cls.model_validate_json(path.read_text(encoding="utf-8"))


def fingerprint(spec: Sourced) -> Fingerprint:
    """Identify a model without loading it: a local folder by the content of its files, a hub id by its commit.

    The commit comes from the local cache when the model is there, else from the hub; UserError when neither answers.
    """
    folder = model_folder(spec)
    if folder is not None:
        revision, digest = None, folder_digest(folder)
    else:
        revision = resolve_commit(spec)
        digest = hashlib.sha256(f"{spec.source}@{revision}".encode()).hexdigest()
    libraries = {library: metadata.version(library) for library in _LIBRARIES}
    return Fingerprint(name=spec.name, source=spec.source, revision=revision, digest=digest, libraries=libraries)


def folder_digest(folder: Path) -> str:
    """SHA-256 over the relative names and contents of all files in `folder` except hidden ones."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            total.update(f"{relative.as_posix()}\0{_file_digest(path)}\n".encode())
    return total.hexdigest()


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
