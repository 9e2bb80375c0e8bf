"""One file of the activation store, by memory map: its record batches, and where their values lie, unread."""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steerwright.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_VALUES = "values"


class ArrowFile:
    """Opened when it is first asked for something.

    Asking Arrow for a whole batch makes the system read all of it ahead, which is right for going through the
    rows, and would read a store of terabytes to look for some of them: hence the rest.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        """How many record batches there are."""
        return len(self._blocks)

    def batch(self, number: int) -> pa.RecordBatch:
        """A record batch, mapped; its pages come when they are read."""
        return self._whole.get_batch(number)

    def index(self, number: int) -> pa.RecordBatch:
        """A copy of a record batch without its values, which stay on the disk."""
        return self._index.get_batch(number)

    def rows(self, number: int) -> int:
        """How many rows a record batch has."""
        return self._blocks[number].rows

    def hookpoint(self, number: int) -> str | None:
        """Whose rows a record batch holds (all of them have the same); None if it has no row."""
        block = self._blocks[number]
        if not block.rows:
            return None
        # The first column: its validity, then its data.
        (code,) = struct.unpack_from("<i", memoryview(self._mapped), block.buffers[1][0])
        hookpoint: str | None = self._hookpoints[code]
        return hookpoint

    def values_at(self, number: int) -> int:
        """Where in the file, in bytes, the values of a record batch begin: its rows one after the other."""
        return self._blocks[number].buffers[-1][0]

    def read_values(self, number: int, memory: memoryview, start: int = 0) -> None:
        """Fill writable `memory` with values of a record batch, from byte `start` of them: a read, not through the map.

        UserError when the file ends before.
        """
        left, at = memory.cast("B"), self.values_at(number) + start
        while left.nbytes:
            got = os.preadv(self._descriptor, [left], at)
            if not got:
                raise UserError(f"{self.path} is shorter than its manifest says; collect the activations again.")
            left, at = left[got:], at + got

    def close(self) -> None:
        """Give back what reading took; the map goes with the last batch of it."""
        opened = self.__dict__.pop("_descriptor", None)
        if opened is not None:
            os.close(opened)

    def __del__(self) -> None:
        self.close()

    @cached_property
    def _descriptor(self) -> int:
        descriptor = os.open(self.path, os.O_RDONLY)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return descriptor

    @cached_property
    def _mapped(self) -> pa.Buffer:
        import pyarrow as pa

        # Not Arrow's own memory map, which has the system read all of a buffer that is asked of it.
        with self.path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        # Nor the megabytes around every little thing; for whole batches Arrow asks by itself.
        if hasattr(mmap, "MADV_RANDOM"):
            mapped.madvise(mmap.MADV_RANDOM)
        return pa.py_buffer(mapped)

    @cached_property
    def _blocks(self) -> list[Block]:
        try:
            return record_batches(memoryview(self._mapped))
        except Unreadable as error:
            raise self._damaged() from error

    @cached_property
    def _index(self) -> Any:
        return self._reader([place for place, name in enumerate(self._whole.schema.names) if name != _VALUES])

    @cached_property
    def _hookpoints(self) -> list[str]:
        first = self._reader([self._whole.schema.get_field_index("hookpoint")]).get_batch(0)
        names: list[str] = first.column(0).dictionary.to_pylist()
        return names

    @cached_property
    def _whole(self) -> Any:
        return self._reader(None)

    def _reader(self, fields: list[int] | None) -> Any:
        import pyarrow as pa

        try:
            return pa.ipc.open_file(self._mapped, options=pa.ipc.IpcReadOptions(included_fields=fields))
        except (pa.ArrowException, OSError) as error:
            raise self._damaged() from error

    def _damaged(self) -> UserError:
        return UserError(f"{self.path} is damaged or compressed; collect the activations again.")


# Where in an Arrow IPC file everything lies: pyarrow knows, and keeps it to itself.
#
# Only what the store needs of the format (arrow.apache.org/docs/format/Columnar.html): the footer and the metadata of a
# record batch are flatbuffers, which are read here by hand.

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
