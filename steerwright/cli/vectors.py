"""`steerwright vectors`: what a vectors file holds, and the way to and from the files of others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steerwright.cli.choices import CommandLine
from steerwright.cli.foreign_vectors import refuse_other, unwritable, write_whole
from steerwright.errors import UserError
from steerwright.vectors.formats import registry

if TYPE_CHECKING:
    from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

vectors = CommandLine(
    name="vectors",
    help="Look into steering vectors, and turn those of others into ours and back.",
    no_args_is_help=True,
)


_WRITTEN = " ".join(f"{name}: {registry.FORMATS[name].writes}." for name in registry.writers())
BUILT_IN = frozenset(registry.FORMATS)
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
    from steerwright.cli.choices import read_layers

    if not file.exists():
        raise UserError(f"There is no file {file}; correct the path.")
    known = registry.recognised(file, model) if file.is_file() else None
    if known is None or known.name in BUILT_IN:
        refuse_other(file)
    asked = registry.Asked(model, concept, steps, read_layers(layers))
    read = (known or registry.FORMATS["steering-hogs"]).read(file, asked)
    for note in read.notes:
        typer.echo(f"note: {note}", err=True)
    found = read.vectors
    if read.content is not None:
        write_whole(output, read.content)
        typer.echo(f"{len(found.directions)} vectors for {found.concept!r} of {found.model.name} in {output}")
        return
    from steerwright.vectors.formats.vectors_file import save_vectors

    try:
        save_vectors(found, output)
    except OSError as error:
        raise unwritable(output, error) from error
    typer.echo(
        f"{len(found.directions)} vectors for {len(found.hookpoints)} {read.what} of {found.model.name} in {output}"
    )


@vectors.command()
def export(
    file: Annotated[Path, typer.Argument(help="A vectors file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    format: Annotated[str, typer.Option(metavar="NAME", help=_WRITTEN)],
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
    if format not in registry.writers():
        raise UserError(f"--format {format}: choose one of {', '.join(registry.writers())}.")

    from steerwright.vectors.formats.vectors_file import load_vectors

    found = load_vectors(file)
    said = registry.FORMATS[format].write(found, file, output, model)
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
