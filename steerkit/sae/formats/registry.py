"""All formats by name: which one a checkpoint is in, and the way in and out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from steerkit.errors import UserError
from steerkit.file_kind import kind_of
from steerkit.sae.formats import dictionary_learning, flux, gemma_scope, openai, own, saelens, sparsify
from steerkit.sae.formats.checkpoint import Checkpoint
from steerkit.sae.formats.imported import ImportedSae
from steerkit.sae.formats.unfit import Unfit
from steerkit.sae.new_folder import NewFolder, check_new_folder


@dataclass(frozen=True, slots=True)
class Format:
    """`recognises` looks at what a checkpoint holds, never at its name alone. `write` is None where there is none."""

    about: str
    recognises: Callable[[Checkpoint], bool]
    read: Callable[[Checkpoint], ImportedSae]
    write: Callable[[ImportedSae, Path], None] | None = None


def _never(_: Checkpoint) -> bool:
    """For formats that are not told apart from another but by being named."""
    return False


FORMATS: dict[str, Format] = {
    "steerkit": Format("our own: config.json, sae.safetensors", own.recognises, own.read),
    "saelens": Format("SAELens: cfg.json, sae_weights.safetensors", saelens.recognises, saelens.read, saelens.write),
    "sparsify": Format(
        "EleutherAI sparsify: cfg.json, sae.safetensors", sparsify.recognises, sparsify.read, sparsify.write
    ),
    "saeuron": Format(
        "SAeUron: cfg.json, sae.safetensors",
        sparsify.recognises_saeuron,
        sparsify.read_saeuron,
        sparsify.write_saeuron,
    ),
    "dictionary_learning": Format(
        "dictionary_learning: ae.pt, config.json",
        dictionary_learning.recognises,
        dictionary_learning.reader(None),
        dictionary_learning.write,
    ),
    **{
        f"dictionary_learning:{name}": Format(
            f"its class {name}, whatever config.json says", _never, dictionary_learning.reader(name)
        )
        for name in dictionary_learning.CLASSES
    },
    "openai": Format(
        "OpenAI sparse_autoencoder: a flat state dict",
        openai.recognises_openai,
        openai.read_openai,
        openai.write_openai,
    ),
    "sdxl-unbox": Format(
        "sdxl-unbox: config.json, state_dict.pth", openai.recognises_unbox, openai.read_unbox, openai.write_unbox
    ),
    "gemma-scope": Format(
        "Gemma Scope: params.npz, or params.safetensors", gemma_scope.recognises, gemma_scope.read, gemma_scope.write
    ),
    "flux": Format("lucas-zhao6's FLUX: sae_best.pt and its like", flux.recognises, flux.read, flux.write),
}
_ALIASES = {"sae-lens": "saelens", "eai-sparsify": "sparsify"}
WRITABLE = tuple(name for name, each in FORMATS.items() if each.write is not None)


def format_of(checkpoint: Checkpoint) -> str:
    """Name of the format that `checkpoint` is in, by what it holds. UserError where none is, or more than one."""
    found = [name for name, each in FORMATS.items() if each.recognises(checkpoint)]
    if len(found) == 1:
        return found[0]
    _refuse_other(checkpoint)
    holds = ", ".join(sorted(checkpoint.content)[:12]) or "nothing"
    vectors = kind_of(checkpoint.weights)
    hint = (
        " Steering vectors are read by `steerkit vectors import`."
        if not found and vectors is not None and vectors.kind == "tensors"
        else ""
    )
    reason = f"may be {' or '.join(found)}" if found else "is in no format that steerkit knows"
    raise UserError(
        f"{checkpoint.weights} {reason} (it holds {holds}). Say which with --format, one of "
        f"{', '.join(found or FORMATS)}.{hint}"
    )


def _refuse_other(checkpoint: Checkpoint) -> None:
    """UserError that says what a checkpoint in no format of autoencoders is, if its names tell."""
    found = kind_of(checkpoint.weights)
    if found is None or found.kind in ("tensors", "pickle", "npz", "sae", "own_sae"):
        return
    where = " `steerkit generate` and the other commands take it as --vectors." if found.kind == "own_vectors" else ""
    raise UserError(f"{checkpoint.weights} is {found.words}, and no autoencoder.{where}")


def read_checkpoint(path: Path, name: str | None = None) -> tuple[ImportedSae, Checkpoint, str]:
    """The autoencoder at `path` (a file of weights or its folder), the checkpoint, and the name of its format.

    `name`: the format, where it is not to be found out. UserError for what cannot be read as one.
    """
    asked = None if name is None else _named(name)
    if name is not None and asked is None:
        raise UserError(f"There is no format {name!r}; there are {', '.join(FORMATS)}.")
    checkpoint = Checkpoint(path)
    name = asked or format_of(checkpoint)
    found = FORMATS[name].read(checkpoint)
    if name != "steerkit":
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
