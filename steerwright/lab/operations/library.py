"""The library: what concepts there are, files in and out, and the visitors' own renamed or deleted."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steerwright.errors import UserError
from steerwright.file_kind import PLAIN, kind_of
from steerwright.lab.admission import MOST_IN_PASSING, folder_bytes, full
from steerwright.lab.checks import checked_choice, checked_name
from steerwright.lab.concepts import ConceptEntry
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors
from steerwright.vectors.statistics import LayerStatistics, layer_statistics
from steerwright.vectors.steering_vectors import SteeringVectors, layer_number

if TYPE_CHECKING:
    from steerwright.lab.workbench import Workbench
    from steerwright.models.language.load import LanguageModel

FORMATS = ("safetensors", "gguf")
LARGEST_FILE = 16 * 2**20
"""Bytes; a vector for each layer of a model with 7 billion parameters takes one million."""
_FORMAT_OF = {"gguf": "gguf"} | dict.fromkeys(PLAIN, "tensors")
SECONDS_KEPT = 3600
_EXPORT = "export-"


@dataclass(frozen=True, slots=True)
class ConceptDetails:
    """A concept with each layer's statistics, first layer first, and what was kept beside a visitor's own."""

    entry: ConceptEntry
    statistics: tuple[LayerStatistics, ...]
    about: dict[str, Any]


def concept_details(workbench: Workbench, name: Any) -> ConceptDetails:
    """Everything that is known of a concept; UserError that names those there are."""
    entry = workbench.concept(name)
    about = workbench.store().about(entry.name) if entry.origin == "yours" else {}
    return ConceptDetails(entry, tuple(layer_statistics(entry.vectors)), about)


def export_concept(workbench: Workbench, name: Any, kind: Any, folder: Path) -> Path:
    """Write a concept's vectors into `folder` as NAME.safetensors or NAME.gguf, and return the file.

    A GGUF file holds no vector of the first layer and does not say which model it is of.
    """
    entry = workbench.concept(name)
    path = folder / f"{checked_name(entry.name)}.{checked_choice(kind, FORMATS, 'format')}"
    folder.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gguf":
        from steerwright.vectors.formats.gguf import write_gguf

        with warnings.catch_warnings(action="ignore"):  # of removal vectors: the page says it itself
            write_gguf(entry.vectors, path, str(workbench.language().model.config.model_type))
    else:
        save_vectors(entry.vectors, path)
    return path


def import_concept(workbench: Workbench, path: Path, name: Any = None) -> ConceptEntry:
    """Take a vectors file of this model, a GGUF control vector or plain tensors into the visitors' own concepts.

    What it is goes by its content; nothing in it is run. Without a `name` it is called as the file says. Raises
    UserError for files that are too large, pickles or anything else, vectors of another model or other layers, and for
    names that cannot be one or are taken; then nothing is written.
    """
    workbench.check_room()
    model = workbench.language()
    shown = path.name
    if not path.is_file():
        raise UserError(f"There is no file {shown}.")
    if path.stat().st_size > LARGEST_FILE:
        raise UserError(
            f"{shown} has {path.stat().st_size / 2**20:.0f} MB; at most {LARGEST_FILE // 2**20} are taken, and control "
            "vectors need far less."
        )
    found = kind_of(path)
    kind = found.kind if found is not None else ""
    wanted = str(name or "").strip()
    if wanted:
        checked_name(wanted)
    vectors = _as_called(path, shown, lambda: _read(path, kind, wanted, model))
    called = checked_name(wanted or _slug(vectors.concept))
    if called in workbench.concepts():
        raise UserError(f"There is a concept {called!r} already; give this one another name.")
    usual = workbench.usual()
    entry = ConceptEntry(
        name=called,
        factor=None,
        origin="yours",
        vectors=replace(vectors, concept=called),
        layer=_layer(vectors, usual.layer),
        strength=usual.strength,
    )
    workbench.add_concept(entry, {"imported": {"file": shown[:80], "format": _FORMAT_OF.get(kind, FORMATS[0])}})
    return entry


def rename_concept(workbench: Workbench, name: Any, new: Any) -> ConceptEntry:
    """Call a visitor's concept differently; UserError for built-in ones and for names that are taken."""
    entry = workbench.concept(name)
    if entry.origin == "built-in":
        raise UserError(f"{entry.name!r} is built in and keeps its name; only concepts of your own can be renamed.")
    called = checked_name(new)
    if called in workbench.concepts():
        raise UserError(f"There is a concept {called!r} already; choose another name.")
    about = workbench.store().about(entry.name)
    renamed = replace(entry, name=called, vectors=replace(entry.vectors, concept=called))
    workbench.add_concept(renamed, about, instead_of=entry.name)
    return renamed


def delete_concept(workbench: Workbench, name: Any) -> None:
    """Delete a visitor's concept for good; UserError for one that is built in or not there."""
    workbench.remove_concept(workbench.concept(name).name)


def _read(path: Path, kind: str, wanted: str, model: LanguageModel) -> SteeringVectors:
    if kind == "gguf":
        return _read_gguf(path, wanted or _slug(path.stem), model)
    if kind in PLAIN:
        from steerwright.vectors.formats.plain_file import read_plain

        read = read_plain(path, model.fingerprint, model.hookpoints, model.width)
        return read.vectors
    return _read_vectors(path, model)


def _read_vectors(path: Path, model: LanguageModel) -> SteeringVectors:
    vectors = load_vectors(path, model.fingerprint)
    unknown = [point for point in vectors.hookpoints if point not in model.hookpoints]
    wide = next((one.width for one in vectors.directions.values() if one.width != model.width), None)
    if unknown or wide is not None:
        what = f"{unknown[0]} is no layer of it" if unknown else f"they are {wide} wide, its layers {model.width}"
        raise UserError(f"The vectors in {path} are not for {model.fingerprint.name}: {what}.")
    # The lab steers every token of a layer by one direction.
    layer_statistics(vectors)
    return vectors


def _read_gguf(path: Path, concept: str, model: LanguageModel) -> SteeringVectors:
    from steerwright.vectors.formats.gguf import read_gguf

    return read_gguf(path, model.fingerprint, model.hookpoints, concept, model.width)


def _as_called(path: Path, shown: str, read: Callable[[], SteeringVectors]) -> SteeringVectors:
    """What `read` gives; its messages name the file as the visitor knows it, not where an upload was put."""
    try:
        return read()
    except UserError as error:
        raise UserError(str(error).replace(str(path), shown)) from None


def _layer(vectors: SteeringVectors, usual: int) -> int:
    """The layer nearest to the usual one that there is a vector for."""
    known = [layer for point in vectors.hookpoints if (layer := layer_number(point)) is not None]
    return min(known, key=lambda layer: (abs(layer - usual), layer))


def _slug(text: str) -> str:
    """A concept's name that is like `text`; may be none, which is then refused."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")


def temporary_export(workbench: Workbench, name: Any, kind: Any) -> Path:
    """As `export_concept`, into a new folder in the lab's cache, which goes after an hour, or when the lab ends.

    UserError also when the cache is full.
    """
    workbench.cache.mkdir(parents=True, exist_ok=True)
    for earlier in workbench.cache.glob(f"{_EXPORT}*"):
        with suppress(OSError):
            if time.time() - earlier.stat().st_mtime > SECONDS_KEPT:
                shutil.rmtree(earlier, ignore_errors=True)
    if folder_bytes(workbench.cache) + LARGEST_FILE > MOST_IN_PASSING:
        raise UserError(full(workbench.cache))
    folder = Path(tempfile.mkdtemp(prefix=_EXPORT, dir=workbench.cache))
    try:
        return export_concept(workbench, name, kind, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
