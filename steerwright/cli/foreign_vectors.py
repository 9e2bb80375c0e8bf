"""Vectors in the files of others: which file is whose, and what each of them needs of the model."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from steerwright.errors import UserError

if TYPE_CHECKING:
    from steerwright.models.fingerprint import Fingerprint
    from steerwright.models.load import LoadedModel
    from steerwright.vectors.steering_vectors import SteeringVectors


def is_gguf(file: Path) -> bool:
    """By the file's first bytes; a file that is not there is left to whoever reads it."""
    if not file.is_file():
        return file.suffix == ".gguf"
    with file.open("rb") as opened:
        return opened.read(4) == b"GGUF"


def from_gguf(file: Path, model: str, concept: str) -> tuple[SteeringVectors, str]:
    """The vectors of a GGUF file for `model`, whose weights are not loaded, and what they are for, in words."""
    from steerwright.cli.choices import choose_language_model
    from steerwright.models.fingerprint import fingerprint
    from steerwright.models.language.architecture import read_architecture
    from steerwright.vectors.formats.gguf import read_gguf

    spec, _ = choose_language_model(model)
    built = read_architecture(spec)
    return read_gguf(file, fingerprint(spec), built.hookpoints, concept, built.width), "layers"


def from_plain(
    file: Path, model: str, concept: str | None, layers: tuple[int, ...] | None
) -> tuple[SteeringVectors, str, tuple[str, ...]]:
    """The vectors of a file of plain tensors for `model`, whose weights are not loaded; what they are for; notes."""
    from steerwright.cli.choices import choose_language_model, is_language
    from steerwright.models.fingerprint import fingerprint
    from steerwright.models.language.architecture import read_architecture
    from steerwright.vectors.formats.plain_file import read_plain

    if not is_language(model):
        raise UserError(
            f"{file} holds tensors, and these are imported as one vector for each layer of a language model, but "
            f"{model} makes pictures. For its vectors there are the pickles of steering-hogs and CASteer."
        )
    spec, _ = choose_language_model(model)
    built = read_architecture(spec)
    read = read_plain(file, fingerprint(spec), built.hookpoints, built.width, concept=concept, layers=layers)
    return read.vectors, "layers", read.notes


def refuse_other(file: Path) -> None:
    """UserError that says what `file` is, if it is told to be no vectors of others."""
    from steerwright.file_kind import PLAIN, kind_of

    if file.is_dir():
        raise UserError(f"{file} is a folder; give one of the files in it.")
    found = kind_of(file) if file.is_file() else None
    if found is None or found.kind in PLAIN | {"gguf", "own_npz"}:
        return
    if found.kind == "own_vectors":
        raise UserError(f"{file} is steerwright's own, a safetensors file; vectors in that format need no import.")
    if found.kind != "pickle":
        raise UserError(
            f"{file} is {found.words}. Imported are pickles of steering-hogs and CASteer, control vectors in GGUF, and "
            "vectors as plain tensors, in safetensors, torch.save or NumPy."
        )
    libraries = {name.partition(" ")[0].partition(".")[0] for name in found.names}
    if known := libraries & {"steering_vectors", "repeng", "torch"}:
        how = (
            "export them as GGUF there (ControlVector.export_gguf)"
            if "repeng" in known
            else "save the tensors by their layers: safetensors.torch.save_file({str(layer): tensor, ...}, PATH)"
        )
        raise UserError(
            f"{file} is a pickle of {', '.join(sorted(known))}, which only running it could read. With its own "
            f"library, {how}; that can be imported."
        )


def from_pickle(file: Path, model: str, concept: str, steps: int | None) -> tuple[SteeringVectors, str]:
    """The vectors of a pickle for `model`, and what they are for, in words."""
    from steerwright.vectors.formats.pickles import imported_vectors, read_layout

    # Before the model is loaded: whoever gives a wrong file hears so at once.
    layout = read_layout(file)
    loaded = _load(model)
    found = imported_vectors(layout, loaded.pipeline, loaded.fingerprint, concept=concept, steps=steps)
    return found, f"blocks and {len(layout.steps)} steps"


def to_gguf(found: SteeringVectors, output: Path, model: str | None) -> str:
    """Write `found` as GGUF; what was done, in words."""
    from steerwright.vectors.formats.gguf import write_gguf

    kind = _kind(found, model)
    try:
        with warnings.catch_warnings(action="ignore"):  # of removal vectors: the command says it itself
            left_out = write_gguf(found, output, kind)
    except OSError as error:
        raise unwritable(output, error) from error
    without = " (GGUF has no place for the first layer's)" if left_out else ""
    return f"{len(found.directions) - len(left_out)} vectors for {found.concept!r} in {output}{without}"


def _kind(found: SteeringVectors, asked: str | None) -> str:
    """What the model's config calls its architecture."""
    from steerwright.cli.choices import choose_language_model
    from steerwright.models.language.architecture import read_architecture

    for place in (found.model.name, found.model.source) if asked is None else (asked,):
        try:
            return read_architecture(choose_language_model(place)[0]).kind
        except UserError:
            if asked is not None:
                raise
    raise _not_here(found)


def _not_here(found: SteeringVectors) -> UserError:
    return UserError(
        f"The vectors are for {found.model.name} from {found.model.source}, which is not here; say where with --model."
    )


def to_steering_hogs(found: SteeringVectors, output: Path, model: str | None) -> str:
    """Write `found` as the pickle of seed 002; what was done, in words."""
    from steerwright.vectors.formats.pickles import to_pickle

    write_whole(output, to_pickle(found, _model_of(found, model).pipeline))
    return f"{len(found.directions)} vectors for {found.concept!r} in {output}"


def _model_of(found: SteeringVectors, asked: str | None) -> LoadedModel:
    """The model that the vectors are for: where the file says, unless it is asked for elsewhere."""
    if asked is not None:
        return _load(asked, found.model)
    for place in (found.model.name, found.model.source):
        try:
            return _load(place, found.model)
        except UserError:
            continue
    raise _not_here(found)


def _load(name: str, expected: Fingerprint | None = None) -> LoadedModel:
    from steerwright.cli.choices import choose_model
    from steerwright.models.load import load_model

    return load_model(choose_model(name), expected)


def write_whole(output: Path, content: bytes) -> None:
    """The whole file or none."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(output)
    except OSError as error:
        raise unwritable(output, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def unwritable(output: Path, error: OSError) -> UserError:
    return UserError(f"{output} cannot be written: {error.strerror or error}.")
