"""`steerwright sae`: sparse autoencoders of other libraries, into our format and back, and what they make of rows."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from steerwright.cli.choices import CommandLine
from steerwright.errors import UserError

if TYPE_CHECKING:
    from steerwright.sae.formats.files import CheckpointFiles
    from steerwright.sae.formats.fold import ImportedSae

sae = CommandLine(
    name="sae",
    help="Read the sparse autoencoders of other libraries, write them for these, and encode rows.",
    no_args_is_help=True,
)

_FORMATS = "steerwright, saelens, sparsify, saeuron, dictionary_learning, openai, sdxl-unbox, gemma-scope, flux"
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
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|FOLDER", help="The model that its rows come from: as elsewhere, or its digest."),
    ] = None,
    steps: Annotated[
        str | None, typer.Option(metavar="14|0-19|all", help="The denoising steps of its rows, from 0.")
    ] = None,
    branches: Annotated[
        str | None, typer.Option(metavar="cond|uncond|all", help="The halves of guidance of its rows.")
    ] = None,
    resolution: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT|any", help="The size of its rows' pictures, in pixels.")
    ] = None,
) -> None:
    """Read an autoencoder of another library into our own format. Nothing in CHECKPOINT is run, whatever it asks.

    Say of its rows what CHECKPOINT does not: what is not known fits no rows. It can be said in params.yaml too.
    """
    from steerwright.sae.formats.registry import import_sae

    found, name = import_sae(
        checkpoint, output, format, allow_lossy=allow_lossy, hookpoint=hookpoint,
        model=None if model is None else _digest(model),
        steps=_steps(steps), branches=_branches(branches), resolution=_resolution(resolution),
    )  # fmt: skip
    _say(found.notes, found.lossy)
    if found.sae.site.unknown:
        unknown = found.sae.site.unknown
        typer.echo(
            f"note: not known of its rows: {', '.join(unknown)}; say it with "
            f"{', '.join('--' + name for name in unknown)} or in params.yaml, where it is used",
            err=True,
        )
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
    from steerwright.sae.formats.registry import export_checkpoint, read_checkpoint

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
    from steerwright.sae.formats.registry import read_checkpoint

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

    from steerwright.sae.formats.registry import encode_rows, read_checkpoint, read_rows, write_npz

    found, _, _ = read_checkpoint(checkpoint, format)
    arrays = encode_rows(found.sae, read_rows(rows, found.sae.width))
    write_npz(output, arrays)
    _say(found.notes, found.lossy)
    typer.echo(f"{len(arrays['indices'])} rows, at most {arrays['indices'].shape[1]} active latents, in {output}")


def _digest(model: str) -> str:
    """The digest of a model that is named, or the digest itself; no weights are loaded."""
    if re.fullmatch(r"[0-9a-f]{64}", model):
        return model
    from steerwright.cli.choices import choose_language_model, choose_model, is_language
    from steerwright.models.identify import fingerprint

    return fingerprint(choose_language_model(model)[0] if is_language(model) else choose_model(model)).digest


def _steps(steps: str | None) -> Literal["all"] | tuple[int, ...] | None:
    from steerwright.cli.choices import read_numbers

    return "all" if steps == "all" else read_numbers("--steps", steps, "denoising steps")


def _branches(branches: str | None) -> Literal["all"] | tuple[Literal["cond", "uncond"], ...] | None:
    if branches is None or branches == "all":
        return branches  # type: ignore[return-value]  # "all" is all that is left
    found = tuple(branches.split(","))
    if not set(found) <= {"cond", "uncond"}:
        raise UserError(f"--branches {branches}: write cond, uncond, cond,uncond or all.")
    return found  # type: ignore[return-value]  # just checked


def _resolution(resolution: str | None) -> Literal["any"] | tuple[int, int] | None:
    """Height and width, as `Site` has them, of WIDTHxHEIGHT."""
    if resolution is None or resolution == "any":
        return resolution  # type: ignore[return-value]  # "any" is all that is left
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", resolution)
    if found is None:
        raise UserError(f"--resolution {resolution}: write WIDTHxHEIGHT in pixels, as 1024x1024, or any.")
    return int(found[2]), int(found[1])


def _say(notes: tuple[str, ...], lossy: tuple[str, ...]) -> None:
    for line in notes:
        typer.echo(f"note: {line}", err=True)
    for line in lossy:
        typer.echo(f"lost: {line}", err=True)


def _in_short(found: ImportedSae) -> str:
    from steerwright.sae.sae_file import ActivationEntry

    entry = ActivationEntry.of(found.sae.activation)
    k = f" (k = {entry.k})" if entry.k is not None else ""
    return f"{entry.kind}{k} of {found.sae.size} latents for rows of {found.sae.width}"


def _described(found: ImportedSae, place: CheckpointFiles, name: str) -> dict[str, Any]:
    from steerwright.sae.sae_file import ActivationEntry, InputNormEntry

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
        "site": autoencoder.site.model_dump(mode="json", exclude_none=True),
        "training": dict(found.facts),
        "kept": sorted(found.extra),
        "notes": list(found.notes),
        "lossy": list(found.lossy),
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        words = ((key, " and ".join(inner) if key == "unknown" else inner) for key, inner in value.items())
        return ", ".join(f"{key} {inner}" for key, inner in words if inner != "") or "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
