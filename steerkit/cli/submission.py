"""`steerkit submission`: pictures to a CSV with base64 PNGs, and back."""

from pathlib import Path
from typing import Annotated

import typer

from steerkit.cli.command_line import CommandLine

submission = CommandLine(
    name="submission", help="Turn pictures into a CSV with base64 PNGs, and back.", no_args_is_help=True
)

IdColumn = Annotated[str | None, typer.Option("--id-column", help="Column of the ids (default: id).")]
ImageColumn = Annotated[str | None, typer.Option("--image-column", help="Column of the pictures (default: image).")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


@submission.command()
def decode(
    file: Annotated[Path, typer.Argument(help="The submission, a CSV file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures, ID.png.")],
    id_column: IdColumn = None,
    image_column: ImageColumn = None,
    force: Force = False,
) -> None:
    """Write each row's picture to OUTPUT/ID.png, with exactly the bytes that were encoded."""
    from steerkit.report.submission import Columns, decode_submission

    named = id_column is not None or image_column is not None
    columns = Columns(id_column or "id", image_column or "image") if named else None
    written = decode_submission(file, output, columns, overwrite=force)
    typer.echo(f"{len(written)} pictures in {output}")


@submission.command()
def encode(
    folder: Annotated[Path, typer.Argument(help="Folder with pictures, ID.png.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The CSV file to write.")] = Path("submission.csv"),
    id_column: IdColumn = None,
    image_column: ImageColumn = None,
    force: Force = False,
) -> None:
    """Write one CSV row for each PNG of FOLDER."""
    from steerkit.errors import UserError
    from steerkit.report.submission import Columns, encode_submission, pictures_of

    if output.exists() and not force:
        raise UserError(f"{output} exists. Choose another name, or add --force to overwrite.")
    pictures = pictures_of(folder)
    encode_submission(pictures, output, Columns(id_column or "id", image_column or "image"))
    typer.echo(f"{len(pictures)} pictures in {output}")
