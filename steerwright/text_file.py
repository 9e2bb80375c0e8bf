"""Text files as people save them: UTF-8, with or without a byte order mark, lines ended as on any system."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from steerwright.errors import UserError, UserErrors

# Not str.splitlines(): that also breaks at U+2028, NEL, form feeds and others, which stand inside of prompts.
_LINE_END = re.compile(r"\r\n|\n|\r")


def read_text_file(path: Path) -> str:
    """The text of `path`, without a byte order mark; line ends are as they are in the file.

    Raises UserError for one that is not UTF-8, or holds a NUL, with where; OSError where there is none to read.
    """
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path} is not UTF-8: byte 0 is 0x{content[0]:02x}, as in UTF-16. Save it again as UTF-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}. Save it again as UTF-8."
        ) from None
    if "\0" in text:
        line = len(_LINE_END.findall(text, 0, text.index("\0"))) + 1
        raise UserError(f"{path} holds a NUL character on line {line}, as no text does. Save it again as UTF-8.")
    return text


def text_lines(text: str) -> list[str]:
    """The lines of `text`: what lies between CRLF, LF or CR, and nothing else; a last line may end or not."""
    lines = _LINE_END.split(text)
    return lines[:-1] if lines[-1] == "" else lines


def csv_rows(text: str, path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a CSV, each with the number of the line on which it begins, from 1; `path` is for messages.

    Cells may hold line ends in quotes. Raises UserError for what is no CSV, with the line.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    begins = 1
    try:
        for row in reader:
            rows.append((begins, row))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV file: line {begins}: {error}. Check its quotes.") from None
    return rows


# Reading a CSV of texts with integer ids: all that is wrong with it is said at once.

ID = "ID"


def read_table(path: Path, columns: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """Rows of a CSV with the header `ID` and `columns`: id -> texts, in the file's order.

    Raises UserError for a file that is missing, empty, not UTF-8 or without a column, and UserErrors that lists
    every bad row: an id that is no whole number, is negative or repeats, and texts that are empty.
    """
    wanted = [ID, *columns]
    rows = _rows(path)
    header = [name.strip() for name in rows[0][1]]
    missing = [name for name in wanted if name not in header]
    if missing:
        raise UserError(
            f"{path} has no column {' and no column '.join(missing)}; its header is {', '.join(header)}. "
            f"It needs the columns {', '.join(wanted)}."
        )
    places = [header.index(name) for name in wanted]
    table: dict[int, tuple[str, ...]] = {}
    first_line: dict[int, int] = {}
    problems: list[str] = []
    for line, row in rows[1:]:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            problems.append(f"line {line}: {len(row)} cells, the header has {len(header)}; quote texts with commas")
            continue
        cells = [row[place].strip() for place in places]
        empty = [name for name, cell in zip(wanted, cells, strict=True) if not cell]
        problems += [f"line {line}: the {name} is empty" for name in empty]
        key = _whole_number(cells[0])
        if key is None:
            if cells[0]:
                problems.append(f"line {line}: the ID {cells[0]!r} is not a whole number from 0 up")
            continue
        if key in first_line:
            problems.append(f"line {line}: the ID {key} was already used on line {first_line[key]}")
            continue
        first_line[key] = line
        if not empty:
            table[key] = tuple(cells[1:])
    if problems:
        raise UserErrors(f"{path} cannot be used; mend these lines:", problems)
    if not table:
        raise UserError(f"{path} has a header and no rows. Add at least one.")
    return table


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    try:
        text = read_text_file(path)
    except FileNotFoundError:
        raise UserError(f"There is no file {path}. Create it, or name another in params.yaml.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; name a CSV file.") from None
    rows = csv_rows(text, path)
    if not rows:
        raise UserError(f"{path} is empty. Its first line must be the header.")
    return rows


def _whole_number(cell: str) -> int | None:
    return int(cell) if cell.isascii() and cell.isdigit() else None
