"""`steerwright vectors`: what a vectors file holds, and the way to and from the files of others."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steerwright.cli.command_line import CommandLine
from steerwright.cli.foreign_vectors import (
    from_gguf,
    from_pickle,
    from_plain,
    is_gguf,
    refuse_other,
    to_gguf,
    to_steering_hogs,
    unwritable,
    write_whole,
)
from steerwright.errors import UserError

if TYPE_CHECKING:
    from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

vectors = CommandLine(
    name="vectors",
    help="Look into steering vectors, and turn those of others into ours and back.",
    no_args_is_help=True,
)


class VectorFormat(StrEnum):
    """What `export` writes."""

    STEERING_HOGS = "steering-hogs"
    NPZ = "npz"
    GGUF = "gguf"


Model = Annotated[str | None, typer.Option(metavar="NAME|FOLDER", help="An entry of params.yaml, or a folder.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


@vectors.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="A pickle of steering-hogs or CASteer, control vectors in GGUF (llama.cpp, repeng), or vectors of a "
            "language model as plain tensors, in safetensors, torch.save (persona vectors) or NumPy."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The vectors file to write.")],
    model: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="The model that they were made with; npz says it itself.")
    ] = None,
    concept: Annotated[str | None, typer.Option(help="What they lead towards (default: the file's name).")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps they were made with (default: as many as in the file).")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="12|0-31",
            help="Of plain tensors that do not say it: the block after which each was taken, from 0, in their order.",
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Read the vectors of others into our own format. Nothing in FILE is run, whatever it asks for."""
    _check_target(output, force)
    refuse_other(file)

    from steerwright.cli.choices import is_language, read_layers
    from steerwright.file_kind import PLAIN, kind_of
    from steerwright.vectors.formats.vectors_file import save_vectors

    held = kind_of(file) if file.is_file() else None
    if held is not None and held.kind == "own_npz":
        _from_npz(file, output, {"--model": model, "--concept": concept, "--steps": steps, "--layers": layers})
        return
    if model is None:
        raise UserError(f"{file} does not say which model its vectors were made with; say it with --model.")
    # A pickle is in the layout of steering-hogs where it is for pictures, else plain.
    plain = held is not None and (held.kind in PLAIN or (held.kind == "pickle" and is_language(model)))
    if steps is not None and (plain or is_gguf(file)):
        raise UserError("--steps is for vectors of pictures; a language model has no denoising steps.")
    if layers is not None and not plain:
        raise UserError("--layers is for vectors in plain tensors; this file says itself where its vectors belong.")
    notes: tuple[str, ...] = ()
    if is_gguf(file):
        found, what = from_gguf(file, model, concept or file.stem)
    elif plain:
        found, what, notes = from_plain(file, model, concept, read_layers(layers))
    else:
        found, what = from_pickle(file, model, concept or file.stem, steps)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    try:
        save_vectors(found, output)
    except OSError as error:
        raise unwritable(output, error) from error
    typer.echo(f"{len(found.directions)} vectors for {len(found.hookpoints)} {what} of {found.model.name} in {output}")


@vectors.command()
def export(
    file: Annotated[Path, typer.Argument(help="A vectors file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    format: Annotated[
        VectorFormat,
        typer.Option(
            help="steering-hogs: its pickle, cross-attention only. npz: arrays of NumPy, all there is. "
            "gguf: control vectors for llama.cpp, repeng and EasySteer, language models only."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER", help="For steering-hogs and gguf, their model (default: as the file says)."
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Write vectors for other programs."""
    _check_target(output, force)
    if format is VectorFormat.NPZ and model is not None:
        raise UserError("--model is for steering-hogs and gguf, which need the model's names; npz needs none.")

    from steerwright.vectors.formats.vectors_file import load_vectors

    found = load_vectors(file)
    match format:
        case VectorFormat.NPZ:
            from steerwright.vectors.formats.restricted_pickle import to_npz

            write_whole(output, to_npz(file))
            said = f"{len(found.directions)} vectors for {found.concept!r} in {output}"
        case VectorFormat.STEERING_HOGS:
            said = to_steering_hogs(found, output, model)
        case VectorFormat.GGUF:
            said = to_gguf(found, output, model)
    if found.for_removal:
        from steerwright.vectors.formats.gguf import REMOVAL

        typer.echo(f"note: {REMOVAL}", err=True)
    typer.echo(said)


@vectors.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A vectors file.")],
    each: Annotated[
        bool, typer.Option("--each", help="A row for every vector, not one for all steps of a block.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Every vector, as JSON for programs.")] = False,
) -> None:
    """Say what a vectors file holds: concept, model, and for each block the steps, norms and what is noise."""
    if each and as_json:
        raise UserError("--each is for the table; --json has every vector anyway. Leave one of them out.")
    from steerwright.vectors.formats.vectors_file import load_vectors
    from steerwright.vectors.steering_vectors import NO_CONTROL

    found = load_vectors(file)
    if as_json:
        import json

        sys.stdout.write(json.dumps(_description(found), indent=1, ensure_ascii=False) + "\n")
        return
    from rich.console import Console

    # Into a pipe or a file as wide as it is.
    console = Console(width=None if sys.stdout.isatty() else 200)
    noisy = sum(map(found.is_noise, found.directions))
    controlled = (
        f"{noisy} of {len(found.controls)} are noise" if found.controls else f"no noise is marked: {NO_CONTROL}"
    )
    schedule = f"{len(found.timesteps)} steps" if found.timesteps else "all steps alike"
    for name, value in (
        ("concept", found.concept),
        ("model", f"{found.model.name} from {found.model.source} (fingerprint {found.model.digest[:12]})"),
        ("estimator", f"{found.estimator}, tokens: {found.token_policy}"),
        ("vectors", f"{len(found.directions)}: {len(found.hookpoints)} hookpoints, {schedule}; {controlled}"),
    ):
        console.print(f"{name:<10}{value}", markup=False, highlight=False)
    console.print(_table(found, each))


def _from_npz(file: Path, output: Path, given: Mapping[str, Any]) -> None:
    """Our own export, back: it says all that there is to say."""
    from steerwright.vectors.formats.restricted_pickle import from_npz
    from steerwright.vectors.formats.vectors_file import load_vectors

    if named := [option for option, value in given.items() if value is not None]:
        raise UserError(f"{', '.join(named)}: {file} says that itself; leave it out.")
    content = from_npz(file)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        checked = Path(folder) / output.name
        checked.write_bytes(content)
        found = load_vectors(checked)
    write_whole(output, content)
    typer.echo(f"{len(found.directions)} vectors for {found.concept!r} of {found.model.name} in {output}")


def _description(found: SteeringVectors) -> dict[str, Any]:
    return {
        "concept": found.concept,
        "model": found.model.model_dump(),
        "estimator": found.estimator,
        "token_policy": found.token_policy,
        "timesteps": found.timesteps,
        "slots": [
            {
                "hookpoint": str(slot.hookpoint),
                "tokens": slot.tokens,
                "steps": slot.steps,
                "branch": slot.branch,
                "width": direction.width,
                "norm": direction.norm.tolist(),
                "origin": None if direction.origin is None else direction.origin.tolist(),
                "control": found.controls.get(slot),
                "noise": found.noise_mark(slot),
            }
            for slot, direction in found.directions.items()
        ],
    }


def _table(found: SteeringVectors, each: bool) -> Any:
    """A row for each hookpoint, branch and tokens, or for each vector."""
    from rich.table import Table

    groups: dict[Any, list[VectorKey]] = {}
    for slot in found.directions:
        groups.setdefault(slot if each else (slot.hookpoint, slot.branch, slot.tokens), []).append(slot)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("hookpoint", overflow="fold")
    for column in ("branch", "tokens", "steps"):
        table.add_column(column)
    for column in ("vectors", "width", "norm", "control", "noise"):
        table.add_column(column, justify="right")
    for slots in groups.values():
        first = slots[0]
        norms = [float(norm) for slot in slots for norm in found.directions[slot].norm.flatten()]
        controls = [found.controls[slot] for slot in slots if slot in found.controls]
        spans = [slot.steps for slot in slots if slot.steps is not None]
        table.add_row(
            str(first.hookpoint),
            first.branch or "-",
            first.tokens,
            _span(min(a for a, _ in spans), max(b for _, b in spans)) if spans else "all",
            str(len(slots)),
            str(found.directions[first].width),
            _range(norms),
            _range(controls) if controls else "-",
            str(sum(map(found.is_noise, slots))) if controls else "-",
        )
    return table


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def _check_target(output: Path, force: bool) -> None:
    if output.is_dir():
        raise UserError(f"{output} is a folder; choose another name.")
    if not output.parent.is_dir():
        raise UserError(f"{output}: there is no folder {output.parent}; make it first, or choose another.")
    if output.exists() and not force:
        raise UserError(f"{output} exists. Choose another name, or add --force to overwrite.")
