"""Text files as people save them: UTF-8, with or without a byte order mark, lines ended as on any system."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from steerwright.errors import UserError

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
