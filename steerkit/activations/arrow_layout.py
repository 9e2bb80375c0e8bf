"""Where in an Arrow IPC file everything lies: pyarrow knows, and keeps it to itself.

Only what the store needs of the format (arrow.apache.org/docs/format/Columnar.html): the footer and the metadata of a
record batch are flatbuffers, which are read here by hand.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

# After the footer: its length in four bytes, and ARROW1.
_TAIL = 10
# Before the metadata of a block: 0xFFFFFFFF and a length.
_PREFIX = 8


class Unreadable(ValueError):
    """The bytes are not laid out as the format says, or are compressed."""


@dataclass(frozen=True, slots=True)
class Block:
    """A record batch in a file: where it begins, how long it is, and where its buffers lie, all in bytes.

    `buffers` has, for each, offset in the file and length, in the order of the columns: validity (of length 0 where
    there are no nulls), then data; a column of lists has a validity of its own before its values'.
    """

    start: int
    length: int
    rows: int
    buffers: tuple[tuple[int, int], ...]


def record_batches(file: memoryview) -> list[Block]:
    """The record batches of a file that is mapped into memory; Unreadable for one that is damaged or compressed."""
    try:
        if bytes(file[-6:]) != b"ARROW1":
            raise Unreadable("no Arrow file")
        (size,) = struct.unpack_from("<i", file, len(file) - _TAIL)
        footer = file[len(file) - _TAIL - size : len(file) - _TAIL]
        blocks = _vector(footer, _root(footer), 3)
        found = []
        for number in range(blocks[1]):
            start, metadata, body = struct.unpack_from("<qi4xq", footer, blocks[0] + 24 * number)
            found.append(_block(file, start, metadata, body))
        return found
    except (struct.error, IndexError, TypeError) as error:
        raise Unreadable(str(error)) from error


def _block(file: memoryview, start: int, metadata: int, body: int) -> Block:
    message = file[start + _PREFIX : start + metadata]
    header = _follow(message, _field(message, _root(message), 2))
    rows = _field(message, header, 0)
    if _field(message, header, 3) is not None:
        raise Unreadable("compressed")
    at, count = _vector(message, header, 2)
    first = start + metadata
    buffers = [struct.unpack_from("<qq", message, at + 16 * number) for number in range(count)]
    return Block(
        start,
        metadata + body,
        0 if rows is None else struct.unpack_from("<q", message, rows)[0],
        tuple((first + offset, length) for offset, length in buffers),
    )


def _root(buffer: memoryview) -> int:
    return int(struct.unpack_from("<I", buffer, 0)[0])


def _field(buffer: memoryview, table: int, number: int) -> int | None:
    """Where a table keeps its field of this number; None where it has the default."""
    fields = table - struct.unpack_from("<i", buffer, table)[0]
    (size,) = struct.unpack_from("<H", buffer, fields)
    at = 4 + 2 * number
    (offset,) = struct.unpack_from("<H", buffer, fields + at) if at < size else (0,)
    return table + offset if offset else None


def _follow(buffer: memoryview, at: Any) -> int:
    return int(at + struct.unpack_from("<I", buffer, at)[0])


def _vector(buffer: memoryview, table: int, number: int) -> tuple[int, int]:
    """Where the elements of a list begin, and how many there are."""
    at = _field(buffer, table, number)
    if at is None:
        return 0, 0
    begin = _follow(buffer, at)
    return begin + 4, int(struct.unpack_from("<I", buffer, begin)[0])
