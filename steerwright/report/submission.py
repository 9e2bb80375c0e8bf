"""A submission: one CSV row for each picture, the PNG's own bytes in base64, and the way back.

An id from a file names a picture only after it was checked to be a plain name, so no row can write outside its folder.
Every row is checked before anything is written.
"""

import base64
import binascii
import csv
import io
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from steerwright.errors import UserError, UserErrors
from steerwright.text_file import csv_rows, read_text_file

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# No separators, no leading dot, nothing that a shell or Windows reads otherwise.
SAFE_ID = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?")
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the two columns. The competition of seed 002 calls them `id` and `0`."""

    id: str = "id"
    image: str = "image"


def encode_submission(pictures: Mapping[str, Path], destination: Path, columns: Columns = Columns()) -> None:
    """Write a CSV with one row for each (id -> PNG file), in the mapping's order.

    Raises UserErrors for ids that are no plain names and files that are not PNG; the CSV appears whole or not at all.
    """
    problems: list[str] = []
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([columns.id, columns.image])
    for name, path in pictures.items():
        content = path.read_bytes()
        found = _bad_name(name) or _bad_picture(content)
        if found:
            problems.append(f"{path}: {found}")
        writer.writerow([name, base64.b64encode(content).decode("ascii")])
    if problems:
        raise UserErrors("These pictures cannot be submitted:", problems)
    if not pictures:
        raise UserError(f"There are no pictures to write to {destination}.")
    _write(destination, out.getvalue().encode("ascii"))


def pictures_of(folder: Path) -> dict[str, Path]:
    """The PNG files of a folder by their stem; numbered ones first and in order. UserError if there are none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Name the folder that holds the pictures as ID.png.")
    found = [path for path in folder.iterdir() if path.is_file() and path.suffix.lower() == ".png"]
    if not found:
        raise UserError(f"{folder} holds no .png files.")
    found.sort(key=lambda path: (0, int(path.stem), "") if path.stem.isdecimal() else (1, 0, path.stem))
    return {path.stem: path for path in found}


def decode_submission(
    source: Path, folder: Path, columns: Columns | None = None, *, overwrite: bool = False
) -> list[Path]:
    """Write each row's picture to `folder/ID.png`, byte for byte as it was encoded, and return the files.

    Without `columns`, the header must be `id,image` or have two columns, taken as id and picture. Raises UserErrors
    that name every bad row (id, base64, PNG), and UserError for files in the way unless `overwrite`; then nothing is
    written.
    """
    pictures = _decode(source, columns)
    targets = {folder / f"{name}.png": content for name, content in pictures.items()}
    in_the_way = [path.name for path in targets if path.exists() or path.is_symlink()]
    if in_the_way and not overwrite:
        shown = ", ".join(in_the_way[:5]) + (f" and {len(in_the_way) - 5} more" if len(in_the_way) > 5 else "")
        raise UserError(f"{folder} already holds {shown}. Choose another folder, or add --force to overwrite.")
    _make_folder(folder)
    for path, content in targets.items():
        _write(path, content)
    return list(targets)


def _decode(source: Path, columns: Columns | None) -> dict[str, bytes]:
    rows = _rows(source)
    header = [name.strip() for name in rows[0]]
    id_at, image_at = _places(source, header, columns)
    pictures: dict[str, bytes] = {}
    first_row: dict[str, int] = {}
    problems: list[str] = []
    for number, row in enumerate(rows[1:], start=1):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            problems.append(f"row {number}: {len(row)} cells where the header has {len(header)}")
            continue
        name = row[id_at].strip()
        where = f"row {number} ({columns.id if columns else header[id_at]} {name[:40]!r})"
        content = _from_base64(row[image_at])
        # File systems that fold case would let a second picture replace the first.
        before = first_row.setdefault(name.casefold(), number)
        if bad_name := _bad_name(name):
            problems.append(f"{where}: {bad_name}")
        if before != number:
            problems.append(f"{where}: the id was already used in row {before}")
        if content is None:
            problems.append(f"{where}: the picture is not base64")
        elif bad_picture := _bad_picture(content):
            problems.append(f"{where}: {bad_picture}")
        else:
            pictures[name] = content
    if problems:
        raise UserErrors(f"{source} cannot be decoded; nothing was written:", problems)
    if not pictures:
        raise UserError(f"{source} has a header and no rows.")
    return pictures


def _rows(source: Path) -> list[list[str]]:
    try:
        text = read_text_file(source)
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror or error}.") from error
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a picture is longer than the default limit
    try:
        rows = [row for _, row in csv_rows(text, source)]
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise UserError(f"{source} is empty; it needs a header such as id,image.")
    return rows


def _places(source: Path, header: list[str], columns: Columns | None) -> tuple[int, int]:
    wanted = columns or Columns()
    if wanted.id in header and wanted.image in header:
        return header.index(wanted.id), header.index(wanted.image)
    if columns is None and len(header) == 2:
        return 0, 1
    missing = [name for name in (wanted.id, wanted.image) if name not in header]
    shown = ", ".join(name[:40] for name in header[:8])
    raise UserError(
        f"{source} has no column {' and no column '.join(missing)}; its header is {shown}. "
        "Name the columns with --id-column and --image-column."
    )


def _bad_name(name: str) -> str | None:
    if not SAFE_ID.fullmatch(name) or name.split(".")[0].lower() in RESERVED:
        return "an id is 1 to 100 letters, digits, _, - and . (not first or last), since it becomes a file's name"
    return None


def _from_base64(text: str) -> bytes | None:
    try:
        # Some encoders break lines, which carries no meaning.
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def _bad_picture(content: bytes) -> str | None:
    from PIL import Image

    if not content.startswith(PNG_SIGNATURE):
        return "the picture is not a PNG"
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            picture.verify()
    except Exception as error:  # Pillow raises many kinds for a torn file, SyntaxError among them
        return f"the picture is a damaged PNG ({error})"
    return None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror or error}.") from error


def _write(path: Path, content: bytes) -> None:
    """The whole file or none: a full disk leaves nothing half-written."""
    _make_folder(path.parent)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
