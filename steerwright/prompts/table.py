"""Reading a CSV of texts with integer ids: all that is wrong with it is said at once."""

from collections.abc import Sequence
from pathlib import Path

from steerwright.errors import UserError, UserErrors
from steerwright.text_file import csv_rows, read_text_file

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
