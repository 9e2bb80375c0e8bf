"""All formats by name: which one a checkpoint is in, and the way in and out."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from steerwright.errors import UserError, UserErrors
from steerwright.file_kind import kind_of
from steerwright.files import NewFolder, check_new_folder
from steerwright.models.folder_digest import content_digest
from steerwright.sae.formats import dictionary_learning, flux, gemma_scope, openai, own, saelens, sparsify
from steerwright.sae.formats.files import CheckpointFiles, Unfit
from steerwright.sae.formats.fold import ImportedSae
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import Provenance, describe_sae, is_sae_folder, save_sae
from steerwright.sae.site_statement import SiteStatement


@dataclass(frozen=True, slots=True)
class SaeFormat:
    """`recognises` looks at what a checkpoint holds, never at its name alone. `write` is None where there is none."""

    about: str
    recognises: Callable[[CheckpointFiles], bool]
    read: Callable[[CheckpointFiles], ImportedSae]
    write: Callable[[ImportedSae, Path], None] | None = None


def _never(_: CheckpointFiles) -> bool:
    """For formats that are not told apart from another but by being named."""
    return False


FORMATS: dict[str, SaeFormat] = {
    "steerwright": SaeFormat("our own: config.json, sae.safetensors", own.recognises, own.read),
    "saelens": SaeFormat("SAELens: cfg.json, sae_weights.safetensors", saelens.recognises, saelens.read, saelens.write),
    "sparsify": SaeFormat(
        "EleutherAI sparsify: cfg.json, sae.safetensors", sparsify.recognises, sparsify.read, sparsify.write
    ),
    "saeuron": SaeFormat(
        "SAeUron: cfg.json, sae.safetensors",
        sparsify.recognises_saeuron,
        sparsify.read_saeuron,
        sparsify.write_saeuron,
    ),
    "dictionary_learning": SaeFormat(
        "dictionary_learning: ae.pt, config.json",
        dictionary_learning.recognises,
        dictionary_learning.reader(None),
        dictionary_learning.write,
    ),
    **{
        f"dictionary_learning:{name}": SaeFormat(
            f"its class {name}, whatever config.json says", _never, dictionary_learning.reader(name)
        )
        for name in dictionary_learning.CLASSES
    },
    "openai": SaeFormat(
        "OpenAI sparse_autoencoder: a flat state dict",
        openai.recognises_openai,
        openai.read_openai,
        openai.write_openai,
    ),
    "sdxl-unbox": SaeFormat(
        "sdxl-unbox: config.json, state_dict.pth", openai.recognises_unbox, openai.read_unbox, openai.write_unbox
    ),
    "gemma-scope": SaeFormat(
        "Gemma Scope: params.npz, or params.safetensors", gemma_scope.recognises, gemma_scope.read, gemma_scope.write
    ),
    "flux": SaeFormat("lucas-zhao6's FLUX: sae_best.pt and its like", flux.recognises, flux.read, flux.write),
}
_ALIASES = {"sae-lens": "saelens", "eai-sparsify": "sparsify"}
WRITABLE = tuple(name for name, each in FORMATS.items() if each.write is not None)


def format_of(checkpoint: CheckpointFiles) -> str:
    """Name of the format that `checkpoint` is in, by what it holds. UserError where none is, or more than one."""
    found = [name for name, each in FORMATS.items() if each.recognises(checkpoint)]
    if len(found) == 1:
        return found[0]
    _refuse_other(checkpoint)
    holds = ", ".join(sorted(checkpoint.content)[:12]) or "nothing"
    vectors = kind_of(checkpoint.weights)
    hint = (
        " Steering vectors are read by `steerwright vectors import`."
        if not found and vectors is not None and vectors.kind == "tensors"
        else ""
    )
    reason = f"may be {' or '.join(found)}" if found else "is in no format that steerwright knows"
    raise UserError(
        f"{checkpoint.weights} {reason} (it holds {holds}). Say which with --format, one of "
        f"{', '.join(found or FORMATS)}.{hint}"
    )


def _refuse_other(checkpoint: CheckpointFiles) -> None:
    """UserError that says what a checkpoint in no format of autoencoders is, if its names tell."""
    found = kind_of(checkpoint.weights)
    if found is None or found.kind in ("tensors", "pickle", "npz", "sae", "own_sae"):
        return
    where = (
        " `steerwright generate` and the other commands take it as --vectors." if found.kind == "own_vectors" else ""
    )
    raise UserError(f"{checkpoint.weights} is {found.words}, and no autoencoder.{where}")


def read_checkpoint(path: Path, name: str | None = None) -> tuple[ImportedSae, CheckpointFiles, str]:
    """The autoencoder at `path` (a file of weights or its folder), the checkpoint, and the name of its format.

    `name`: the format, where it is not to be found out. UserError for what cannot be read as one.
    """
    asked = None if name is None else _named(name)
    if name is not None and asked is None:
        raise UserError(f"There is no format {name!r}; there are {', '.join(FORMATS)}.")
    checkpoint = CheckpointFiles(path)
    name = asked or format_of(checkpoint)
    found = FORMATS[name].read(checkpoint)
    if name != "steerwright":
        found = replace(found, sae=replace(found.sae, site=found.sae.site.imported()))
    return found, checkpoint, name


def export_checkpoint(found: ImportedSae, output: Path, name: str) -> None:
    """Write `found` as the folder `output`, in the format `name`: all or nothing. UserError if it does not fit."""
    asked = _named(name)
    write = FORMATS[asked].write if asked is not None else None
    if write is None:
        raise UserError(f"No format {name!r} is written; there are {', '.join(WRITABLE)}.")
    check_new_folder(output, _never_replaced)
    try:
        with NewFolder(output, _never_replaced) as folder:
            write(found, folder)
    except Unfit as reason:
        raise UserError(f"This autoencoder cannot be written as {name}: {reason}. Choose another format.") from reason


def _named(name: str) -> str | None:
    """The format that is meant by `name`, as its library is spelled on PyPI or in Python; None where there is none."""
    spelled = {key.lower().replace("_", "-"): key for key in FORMATS} | _ALIASES
    return spelled.get(name.lower().replace("_", "-"))


def _never_replaced(_: Path) -> bool:
    return False


# Latents and reconstructions of rows in a file, for anyone who reads NumPy's formats.

_PRE_ACTIVATIONS = 1 << 26


def read_rows(path: Path, width: int) -> npt.NDArray[Any]:
    """The array [rows, width] of floats in the .npy file `path`, mapped. UserError where it holds anything else."""
    if not path.is_file():
        raise UserError(
            f"There is no file of rows {path}. Save an array [rows, {width}] with numpy.save, or correct it."
        )
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}. Save the rows with numpy.save, as one array.") from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise UserError(f"{path} holds several arrays; save the rows alone, with numpy.save.")
    _check_rows(found, width, str(path))
    return found


def _check_rows(found: npt.NDArray[Any], width: int, where: str) -> None:
    if found.ndim != 2 or found.dtype.kind != "f":
        raise UserError(f"{where} holds {found.dtype} of shape {list(found.shape)}; rows are floats [rows, {width}].")
    if found.shape[1] != width:
        raise UserError(f"The rows in {where} are {found.shape[1]} wide, but the autoencoder is for {width}.")


def encode_rows(sae: Sae, rows: npt.NDArray[Any] | Tensor) -> dict[str, npt.NDArray[Any]]:
    """`indices` int64 and `values` [rows, most active latents of a row] and `reconstruction` of `rows` [rows, d].

    A row's most active latents come first; unused places are -1 and 0. Computed in float32, in float64 only where the
    weights are. UserError for rows that are not floats of the autoencoder's width, or not finite.
    """
    if isinstance(rows, Tensor):
        # NumPy has no bfloat16.
        rows = (rows.float() if rows.dtype == torch.bfloat16 else rows).detach().cpu().numpy()
    rows = np.asanyarray(rows)
    _check_rows(rows, sae.width, "the array")
    batch = max(1, min(len(rows), _PRE_ACTIVATIONS // sae.size))
    indices: list[Tensor] = []
    values: list[Tensor] = []
    dtype = torch.promote_types(sae.encoder.dtype, torch.float32)
    reconstruction = np.zeros(rows.shape, np.float64 if dtype == torch.float64 else np.float32)
    for start in range(0, len(rows), batch):
        piece = torch.from_numpy(np.array(rows[start : start + batch])).to(dtype)
        if not bool(torch.isfinite(piece).all()):
            first = start + int((~torch.isfinite(piece)).any(1).nonzero()[0])
            raise UserError(f"Row {first} holds what is not a finite number; leave such rows out.")
        latents, decoded = sae.reconstruct(piece)
        indices.append(latents.indices)
        values.append(latents.values)
        reconstruction[start : start + batch] = decoded.numpy()
    used = max((int(piece.ge(0).sum(1).max()) for piece in indices if piece.numel()), default=0)
    return {
        "indices": _joined(indices, used, -1),
        "values": _joined(values, used, 0).astype(reconstruction.dtype),
        "reconstruction": reconstruction,
    }


def write_npz(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """The whole file or none. UserError where it cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _joined(pieces: list[Tensor], places: int, unused: int) -> npt.NDArray[Any]:
    """The first `places` of all pieces [rows, any], one under the other; `unused` where a piece has fewer."""
    if not pieces:
        return np.zeros((0, places), np.int64)
    cut = [piece[:, :places] for piece in pieces]
    joined: npt.NDArray[Any] = torch.cat(
        [functional.pad(piece, (0, places - piece.shape[1]), value=unused) for piece in cut]
    ).numpy()
    return joined


# A checkpoint of another library, made one of ours on the disk.


def import_sae(
    path: Path, folder: Path, name: str | None = None, *, allow_lossy: bool = False, hookpoint: str | None = None,
    model: str | None = None, steps: Literal["all"] | tuple[int, ...] | None = None,
    branches: Literal["all"] | tuple[Literal["cond", "uncond"], ...] | None = None,
    resolution: Literal["any"] | tuple[int, int] | None = None,
) -> tuple[ImportedSae, str]:  # fmt: skip
    """Write the autoencoder at `path` to `folder`; it, and the name of its format (`name`, where that is given).

    `hookpoint`, `model` (its digest), `steps` (from 0), `branches`, `resolution` (height, width): which rows it was
    trained on, where its checkpoint does not say; what nobody says is unknown, and fits no rows. Raises UserError for
    what cannot be read, for one that loses something unless `allow_lossy`, where its checkpoint says otherwise, and
    where `folder` holds anything but an autoencoder of ours.
    """
    stated = SiteStatement(model=model, hookpoint=hookpoint, steps=steps, branches=branches, resolution=resolution)
    check_new_folder(folder, is_sae_folder)
    found, checkpoint, name = read_checkpoint(path, name)
    if folder.resolve() == checkpoint.folder.resolve():
        raise UserError(f"{folder} is where the checkpoint itself is; choose another folder.")
    if found.lossy and not allow_lossy:
        raise UserErrors(
            f"{checkpoint.weights} holds what is lost on import; add --allow-lossy if you can do without:",
            list(found.lossy),
        )
    site = stated.complete(found.sae.site, f"in {checkpoint.weights}", facts=found.facts)
    found = replace(found, sae=replace(found.sae, site=site))
    save_sae(
        found.sae,
        folder,
        _plain(found.facts),
        provenance=_provenance(found, checkpoint, name),
        lossy=found.lossy,
        extra=found.extra,
    )
    return found, name


def _provenance(found: ImportedSae, checkpoint: CheckpointFiles, name: str) -> Provenance | None:
    if name == "steerwright":
        return describe_sae(checkpoint.folder).provenance
    return Provenance(
        format=name,
        library=found.library,
        version=found.version,
        files={path.name: content_digest(path) for path in checkpoint.files},
        config=_plain(found.config),
    )


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON can hold it: a pickle's configuration may have a torch.dtype in it, whose name will do."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(found), default=str))
    return plain
