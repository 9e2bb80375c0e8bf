"""`steerkit sae`: sparse autoencoders of other libraries, into our own format and back, and what they make of rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steerkit.cli.command_line import CommandLine
from steerkit.errors import UserError

if TYPE_CHECKING:
    from steerkit.sae.formats.checkpoint import Checkpoint
    from steerkit.sae.formats.imported import ImportedSae

sae = CommandLine(
    name="sae",
    help="Read the sparse autoencoders of other libraries, write them for these, and encode rows.",
    no_args_is_help=True,
)

_FORMATS = "steerkit, saelens, sparsify, saeuron, dictionary_learning, openai, sdxl-unbox, flux"
CheckpointPath = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A file of weights, or its folder.")]
FormatName = Annotated[
    str | None,
    typer.Option("--format", metavar="NAME", help=f"What it is in (default: found out from its content): {_FORMATS}."),
]


@sae.command("import")
def import_(
    checkpoint: CheckpointPath,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder to write.")],
    format: FormatName = None,
    allow_lossy: Annotated[
        bool, typer.Option("--allow-lossy", help="Even if the checkpoint says what cannot be kept.")
    ] = False,
    hookpoint: Annotated[
        str | None,
        typer.Option(metavar="PATH:PLACE", help="Where its rows come from, such as unet.mid_block.attentions.0:out."),
    ] = None,
) -> None:
    """Read an autoencoder of another library into our own format. Nothing in CHECKPOINT is run, whatever it asks."""
    from steerkit.sae.formats.import_sae import import_sae

    found, name = import_sae(checkpoint, output, format, allow_lossy=allow_lossy, hookpoint=hookpoint)
    _say(found.notes, found.lossy)
    typer.echo(f"{_in_short(found)} from {name} in {output}")


@sae.command()
def export(
    checkpoint: CheckpointPath,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The folder to write; a new one.")],
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help=f"What to write: {_FORMATS.partition(', ')[2]}.")
    ],
) -> None:
    """Write an autoencoder for another library, so that it gives the same latents there; refused if it cannot."""
    from steerkit.sae.formats.registry import export_checkpoint, read_checkpoint

    found, _, _ = read_checkpoint(checkpoint)
    export_checkpoint(found, output, format)
    typer.echo(f"{_in_short(found)} for {format} in {output}")


@sae.command()
def inspect(
    checkpoint: CheckpointPath,
    format: FormatName = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON for programs.")] = False,
) -> None:
    """Say what a checkpoint holds: format, architecture, sizes, how rows are normed, and what an import would lose."""
    from steerkit.sae.formats.registry import read_checkpoint

    found, place, name = read_checkpoint(checkpoint, format)
    described = _described(found, place, name)
    if as_json:
        import json

        sys.stdout.write(json.dumps(described, indent=1, ensure_ascii=False, default=str) + "\n")
        return
    for key, value in described.items():
        lines = value if isinstance(value, list) else [_text(value)]
        for line in lines:
            typer.echo(f"{key:<12}{line}")


@sae.command()
def encode(
    checkpoint: CheckpointPath,
    rows: Annotated[Path, typer.Argument(metavar="ROWS.npy", help="An array of floats [rows, d].")],
    output: Annotated[Path, typer.Argument(metavar="OUT.npz", help="The file to write, over one that is there.")],
    format: FormatName = None,
) -> None:
    """Latents and reconstructions of rows: `indices` and `values` [rows, places], `reconstruction` [rows, d].

    There are as many places as the fullest row has active latents, the most active first; unused are -1 and 0.
    """
    if output.is_dir() or not output.parent.is_dir():
        raise UserError(f"{output} cannot be written: {'it' if output.is_dir() else output.parent} is no such place.")

    from steerkit.sae.formats.encode_rows import encode_rows, read_rows, write_npz
    from steerkit.sae.formats.registry import read_checkpoint

    found, _, _ = read_checkpoint(checkpoint, format)
    arrays = encode_rows(found.sae, read_rows(rows, found.sae.width))
    write_npz(output, arrays)
    _say(found.notes, found.lossy)
    typer.echo(f"{len(arrays['indices'])} rows, at most {arrays['indices'].shape[1]} active latents, in {output}")


def _say(notes: tuple[str, ...], lossy: tuple[str, ...]) -> None:
    for line in notes:
        typer.echo(f"note: {line}", err=True)
    for line in lossy:
        typer.echo(f"lost: {line}", err=True)


def _in_short(found: ImportedSae) -> str:
    from steerkit.sae.sae_description import ActivationEntry

    entry = ActivationEntry.of(found.sae.activation)
    k = f" (k = {entry.k})" if entry.k is not None else ""
    return f"{entry.kind}{k} of {found.sae.size} latents for rows of {found.sae.width}"


def _described(found: ImportedSae, place: Checkpoint, name: str) -> dict[str, Any]:
    from steerkit.sae.sae_description import ActivationEntry, InputNormEntry

    autoencoder = found.sae
    entry = ActivationEntry.of(autoencoder.activation)
    return {
        "format": name,
        "library": found.library if found.version is None else f"{found.library} {found.version}",
        "weights": str(place.weights),
        "latents": autoencoder.size,
        "width": autoencoder.width,
        "dtype": str(autoencoder.encoder.dtype).removeprefix("torch."),
        "activation": entry.model_dump(exclude_none=True),
        "input norm": InputNormEntry.of(autoencoder.input_norm).model_dump(exclude_none=True),
        "subtracts": "another bias" if autoencoder.input_bias is not None else autoencoder.subtract_bias,
        "skip": autoencoder.skip is not None,
        "site": autoencoder.site.model_dump(exclude_none=True),
        "training": dict(found.facts),
        "kept": sorted(found.extra),
        "notes": list(found.notes),
        "lossy": list(found.lossy),
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items()) or "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
