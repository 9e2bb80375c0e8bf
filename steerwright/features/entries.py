"""The active latents of whole images, token by token, in one order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from steerwright.errors import UserError
from steerwright.former_name import current
from steerwright.sae.latents import SparseLatents
from steerwright.sae.site import Site


@dataclass(frozen=True, slots=True, eq=False)
class LatentEntries:
    """What is not zero of the activations z [images, tokens, n], sorted by image, then latent, then token.

    `image`, `latent`, `token` int64 and `value` float32, all [entries].
    """

    images: int
    tokens: int
    size: int
    image: NDArray[np.int64]
    latent: NDArray[np.int64]
    token: NDArray[np.int64]
    value: NDArray[np.float32]

    @property
    def group(self) -> NDArray[np.int64]:
        """image * n + latent of each entry, ascending: entries of one group are one latent in one image."""
        return self.image * self.size + self.latent


def latent_entries(latents: SparseLatents, images: int = 1) -> LatentEntries:
    """Entries of `images` images whose rows follow each other, each with as many tokens (ValueError if they have not).

    Raises ValueError for values that are not finite: rows like that are left out when activations are stored.
    """
    rows = len(latents)
    if images < 1 or rows == 0 or rows % images:
        raise ValueError(f"{rows} rows are not the tokens of {images} images")
    used = latents.used.cpu()
    row, _ = used.nonzero(as_tuple=True)
    latent, value = latents.indices.cpu()[used].long(), latents.values.detach().cpu()[used].float()
    if not value.isfinite().all():
        raise ValueError(f"{int((~value.isfinite()).sum())} latents are not finite")
    tokens = rows // images
    # The token is part of the key, so no two keys are equal and the order is the same on every machine.
    key = ((row // tokens) * latents.size + latent) * tokens + row % tokens
    key, order = torch.sort(key)
    found = (key // (latents.size * tokens), key // tokens % latents.size, key % tokens, value[order])
    image, latent, token, value = found
    return LatentEntries(images, tokens, latents.size, image.numpy(), latent.numpy(), token.numpy(), value.numpy())


# Which autoencoder met which tokens of which images: what all that is read off latents shares, and must agree on.

MANIFEST = "manifest.json"


class LatentSource(BaseModel):
    """An autoencoder, and the images whose tokens it encoded at one denoising step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sae: str = Field(description="The autoencoder's name, which is that of its folder.")
    key: str = Field(description="Digest of all that the latents depend on; rows of another key are not resumed.")
    size: int = Field(gt=0, description="Number of latents, n.")
    site: Site = Field(description="Where the encoded rows came from: model, hookpoint, grid.")
    step: int | None = Field(default=None, description="Denoising step, 0-based; None for models without steps.")
    grid: tuple[int, int] = Field(description="Token grid [h, w]: token t is at row t // w, column t % w.")
    images: tuple[str, ...] = Field(description="Ids of the images, in order: image i is number i everywhere.")

    @model_validator(mode="after")
    def _images_differ(self) -> LatentSource:
        if len(set(self.images)) != len(self.images):
            raise ValueError("several images have the same id")
        if not self.images:
            raise ValueError("there are no images")
        if min(self.grid) < 1:
            raise ValueError(f"the token grid {self.grid} is empty")
        return self

    @property
    def tokens(self) -> int:
        """Tokens of an image."""
        return self.grid[0] * self.grid[1]


def check_batch(source: LatentSource, images: list[int], entries: LatentEntries) -> None:
    """ValueError where `entries` are not those of `images`, or these are none of the source's."""
    if len(images) != entries.images or len(set(images)) != len(images):
        raise ValueError(f"{len(images)} numbers of images for the tokens of {entries.images}")
    if any(not 0 <= image < len(source.images) for image in images):
        raise ValueError(f"there are {len(source.images)} images; {images} are not all among them")
    if entries.size != source.size or entries.tokens > source.tokens:
        raise ValueError(
            f"{entries.tokens} tokens of {entries.size} latents are not {source.tokens} tokens of {source.size}"
        )


def write_manifest(folder: Path, schema: str, version: int, source: LatentSource, complete: bool) -> None:
    """Replace the folder's manifest by rename, so that nobody ever reads half of one."""
    content = {"schema_name": schema, "schema_version": version, "complete": complete, **source.model_dump(mode="json")}
    temporary = folder / f".{MANIFEST}.{os.getpid()}"
    try:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
        temporary.replace(folder / MANIFEST)
    finally:
        temporary.unlink(missing_ok=True)


def held(folder: Path, schema: str, version: int, source: LatentSource) -> bool | None:
    """Whether what the folder holds of this very source is complete; None where it holds something else, or nothing."""
    try:
        content = current(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    complete = content.pop("complete", None)
    same = {"schema_name": schema, "schema_version": version, **source.model_dump(mode="json")}
    return complete if content == same and isinstance(complete, bool) else None


def write_at(file: int, content: bytes, offset: int) -> None:
    """Write all of `content` at `offset` of an open file; not by memory map, which a full disk kills without a word."""
    view = memoryview(content)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def read_manifest(folder: Path, schema: str, version: int, remedy: str) -> dict[str, Any]:
    """The manifest of a finished folder less its schema: UserError where there is none, another one, or half of one."""
    path = folder / MANIFEST
    try:
        content = current(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder} is no {schema} folder: it has no {MANIFEST}; {remedy}.") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged (no JSON); {remedy}.") from error
    found = (content.get("schema_name"), content.get("schema_version")) if isinstance(content, dict) else None
    if found != (schema, version):
        raise UserError(f"{path} is not of {schema} version {version} (found {found}); {remedy}.")
    if content.get("complete") is not True:
        raise UserError(f"{folder} is not finished: what wrote it was stopped half-way; {remedy}.")
    return {name: value for name, value in content.items() if name not in ("schema_name", "schema_version", "complete")}


@contextmanager
def damaged(folder: Path, remedy: str) -> Iterator[None]:
    """Turn what a damaged folder raises into a UserError."""
    try:
        yield
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"{folder / MANIFEST} is damaged at {where!r}; {remedy}.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is damaged ({error}); {remedy}.") from error
