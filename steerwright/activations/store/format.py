"""The manifest of an activation store: what is in the folder, and which shards count. Normative: docs/formats.md."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steerwright.arguments import whole
from steerwright.errors import UserError
from steerwright.former_name import current
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.spec import Dtype

MANIFEST = "manifest.json"
FORMAT: Literal["steerwright.activations"] = "steerwright.activations"
SCHEMA_VERSION: Literal[1] = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Layout(_Frozen):
    """The shape of one hookpoint's activations: `width` values per token, tokens on `grid` ([tokens] or [h, w])."""

    hookpoint: str
    width: int
    grid: tuple[int, ...]


class ShardFile(_Frozen):
    """An Arrow file of a shard, all of whose rows have `width` values."""

    path: str
    width: int
    rows: int
    bytes: int
    sha256: str


class Shard(_Frozen):
    """A finished shard. `key` names everything that its content depends on; counts are by hookpoint."""

    name: str
    key: str
    items: int
    files: tuple[ShardFile, ...]
    rows: dict[str, int]
    dropped: dict[str, int] = Field(description="Rows left out because a value in them was not finite.")
    layouts: tuple[Layout, ...]


class Manifest(_Frozen):
    """Everything about a store but the rows. `complete` is false while it is being written."""

    format: Literal["steerwright.activations"] = FORMAT
    schema_version: Literal[1] = SCHEMA_VERSION
    complete: bool
    model: Fingerprint
    dtype: Dtype
    provenance: dict[str, Any]
    shards: tuple[Shard, ...]

    @property
    def layouts(self) -> dict[str, Layout]:
        """Layout by hookpoint, in the order in which hookpoints were first written."""
        return {layout.hookpoint: layout for shard in self.shards for layout in shard.layouts}

    def write(self, folder: Path) -> None:
        """Replace the folder's manifest by rename, so that a reader or a killed writer never leaves half of one."""
        temporary = folder / f".{MANIFEST}.{os.getpid()}"
        text = json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True)
        try:
            temporary.write_text(text + "\n", encoding="utf-8")
            temporary.replace(folder / MANIFEST)
        finally:
            temporary.unlink(missing_ok=True)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest file; UserError when it is missing, damaged, or of another schema version."""
    try:
        content = current(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} holds no activation store: there is no {MANIFEST}; collect again.") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged (no JSON); collect the activations again.") from error
    found = (content.get("format"), content.get("schema_version")) if isinstance(content, dict) else None
    if found != (FORMAT, SCHEMA_VERSION):
        raise UserError(
            f"{path} is not an activation store of schema version {SCHEMA_VERSION} (found {found}); collect again."
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"{path} is damaged at {where!r}; collect the activations again.") from error


def shard_name(item: str, shards: int) -> str:
    """The shard that `item` belongs to, by a stable hash of its id: another item more or less never moves it.

    Only the id up to its first colon counts, so that `7:positive` and `7:negative` share a shard.
    """
    shards = whole(shards, "shards", 1, "there is at least 1 shard.")
    family = item.split(":", 1)[0]
    number = int.from_bytes(hashlib.sha256(family.encode()).digest()[:8], "big") % shards
    return f"{number:0{len(str(shards - 1))}d}-of-{shards}"


def shard_key(*parts: Any) -> str:
    """SHA-256 over the JSON of everything a shard's content depends on."""
    text = json.dumps([SCHEMA_VERSION, *parts], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
