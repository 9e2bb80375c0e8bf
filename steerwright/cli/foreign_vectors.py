"""The formats of others that the command line knows: which file is whose, and what each needs of the model."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from steerwright.errors import UserError
from steerwright.vectors.formats.registry import Asked, Imported, VectorFormat, register

if TYPE_CHECKING:
    from steerwright.models.fingerprint import Fingerprint
    from steerwright.models.load import LoadedModel
    from steerwright.vectors.steering_vectors import SteeringVectors


def _model(file: Path, asked: Asked) -> str:
    if asked.model is None:
        raise UserError(f"{file} does not say which model its vectors were made with; say it with --model.")
    return asked.model


def _no_steps(asked: Asked) -> None:
    if asked.steps is not None:
        raise UserError("--steps is for vectors of pictures; a language model has no denoising steps.")


def _no_layers(asked: Asked) -> None:
    if asked.layers is not None:
        raise UserError("--layers is for vectors in plain tensors; this file says itself where its vectors belong.")


class SteeringHogs(VectorFormat):
    """Pickles of steering-hogs and CASteer: cross-attention outputs, by step and block."""

    name = "steering-hogs"
    reads = "a pickle of steering-hogs or CASteer"
    writes = "its pickle, cross-attention only"

    def recognises(self, file: Path, model: str | None) -> bool:  # noqa: ARG002
        from steerwright.file_kind import kind_of

        found = kind_of(file)
        return found is None or found.kind == "pickle"

    def read(self, file: Path, asked: Asked) -> Imported:
        from steerwright.vectors.formats.pickles import imported_vectors, read_layout

        model = _model(file, asked)
        _no_layers(asked)
        # Before the model is loaded, so that a wrong file is refused at once.
        layout = read_layout(file)
        loaded = _load(model)
        found = imported_vectors(
            layout, loaded.pipeline, loaded.fingerprint, concept=asked.concept or file.stem, steps=asked.steps
        )
        return Imported(found, f"blocks and {len(layout.steps)} steps")

    def write(self, vectors: SteeringVectors, source: Path, output: Path, model: str | None) -> str:  # noqa: ARG002
        from steerwright.vectors.formats.pickles import to_pickle

        write_whole(output, to_pickle(vectors, _model_of(vectors, model).pipeline))
        return f"{len(vectors.directions)} vectors for {vectors.concept!r} in {output}"


class Npz(VectorFormat):
    """Our own vectors as arrays of NumPy, and back."""

    name = "npz"
    writes = "arrays of NumPy, all there is"

    def recognises(self, file: Path, model: str | None) -> bool:  # noqa: ARG002
        from steerwright.file_kind import kind_of

        found = kind_of(file)
        return found is not None and found.kind == "own_npz"

    def read(self, file: Path, asked: Asked) -> Imported:
        from steerwright.vectors.formats.restricted_pickle import from_npz
        from steerwright.vectors.formats.vectors_file import load_vectors

        if asked.given:
            raise UserError(f"{', '.join(asked.given)}: {file} says that itself; leave it out.")
        content = from_npz(file)
        with tempfile.TemporaryDirectory() as folder:
            checked = Path(folder) / "vectors.safetensors"
            checked.write_bytes(content)
            return Imported(load_vectors(checked), "hookpoints", content=content)

    def write(self, vectors: SteeringVectors, source: Path, output: Path, model: str | None) -> str:
        from steerwright.vectors.formats.restricted_pickle import to_npz

        if model is not None:
            raise UserError("--model is for steering-hogs and gguf, which need the model's names; npz needs none.")
        write_whole(output, to_npz(source))
        return f"{len(vectors.directions)} vectors for {vectors.concept!r} in {output}"


class Gguf(VectorFormat):
    """Control vectors of llama.cpp, repeng and EasySteer."""

    name = "gguf"
    reads = "control vectors in GGUF (llama.cpp, repeng)"
    writes = "control vectors for llama.cpp, repeng and EasySteer, language models only"

    def recognises(self, file: Path, model: str | None) -> bool:  # noqa: ARG002
        with file.open("rb") as opened:
            return opened.read(4) == b"GGUF"

    def read(self, file: Path, asked: Asked) -> Imported:
        from steerwright.cli.choices import choose_language_model
        from steerwright.models.identify import fingerprint
        from steerwright.models.language.reading import read_architecture
        from steerwright.vectors.formats.gguf import read_gguf

        model = _model(file, asked)
        _no_steps(asked)
        _no_layers(asked)
        spec, _ = choose_language_model(model)
        built = read_architecture(spec)
        concept = asked.concept or file.stem
        return Imported(read_gguf(file, fingerprint(spec), built.hookpoints, concept, built.width), "layers")

    def write(self, vectors: SteeringVectors, source: Path, output: Path, model: str | None) -> str:  # noqa: ARG002
        from steerwright.vectors.formats.gguf import write_gguf

        kind = _kind(vectors, model)
        try:
            with warnings.catch_warnings(action="ignore"):  # of removal vectors: the command says it itself
                left_out = write_gguf(vectors, output, kind)
        except OSError as error:
            raise unwritable(output, error) from error
        without = " (GGUF has no place for the first layer's)" if left_out else ""
        return f"{len(vectors.directions) - len(left_out)} vectors for {vectors.concept!r} in {output}{without}"


class Plain(VectorFormat):
    """Vectors of a language model as plain tensors: safetensors, torch.save (persona vectors), NumPy."""

    name = "plain"
    reads = "vectors of a language model as plain tensors, in safetensors, torch.save (persona vectors) or NumPy"

    def recognises(self, file: Path, model: str | None) -> bool:
        from steerwright.cli.choices import is_language
        from steerwright.file_kind import PLAIN, kind_of

        found = kind_of(file)
        # A pickle is in the layout of steering-hogs where it is for pictures, else plain.
        pickled = found is not None and found.kind == "pickle" and model is not None and is_language(model)
        return found is not None and (found.kind in PLAIN or pickled)

    def read(self, file: Path, asked: Asked) -> Imported:
        from steerwright.cli.choices import choose_language_model, is_language
        from steerwright.models.identify import fingerprint
        from steerwright.models.language.reading import read_architecture
        from steerwright.vectors.formats.plain_file import read_plain

        model = _model(file, asked)
        _no_steps(asked)
        if not is_language(model):
            raise UserError(
                f"{file} holds tensors, and these are imported as one vector for each layer of a language model, but "
                f"{model} makes pictures. For its vectors there are the pickles of steering-hogs and CASteer."
            )
        spec, _ = choose_language_model(model)
        built = read_architecture(spec)
        read = read_plain(
            file, fingerprint(spec), built.hookpoints, built.width, concept=asked.concept, layers=asked.layers
        )
        return Imported(read.vectors, "layers", read.notes)


for made in (SteeringHogs(), Npz(), Gguf(), Plain()):
    register(made)


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


def _kind(found: SteeringVectors, asked: str | None) -> str:
    """What the model's config calls its architecture."""
    from steerwright.cli.choices import choose_language_model
    from steerwright.models.language.reading import read_architecture

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
