"""Write the files of one shard: streamed, hashed on the way, named when they are whole."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from steerkit.activations.manifest import Layout, Shard, ShardFile
from steerkit.activations.row_buffer import RowBuffer
from steerkit.activations.rows import DTYPES, Rows, record_batch, schema
from steerkit.models.spec import Dtype

log = logging.getLogger(__name__)


class ShardWriter:
    """The files of a shard, one per row width; use it as a context manager and call `commit` at its end.

    `items` are all its prompt ids. By default every `Rows` is a record batch; with `batch_bytes` the rows of a
    hookpoint gather into record batches of about so many bytes of values, in memory that does not grow. What was not
    committed leaves nothing.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        key: str,
        items: Sequence[str],
        *,
        dtype: Dtype,
        hookpoints: Sequence[str],
        batch_bytes: int = 0,
    ) -> None:
        self._folder, self._name, self._key, self._items = folder, name, key, items
        self._dtype, self._hookpoints, self._batch_bytes = dtype, list(hookpoints), batch_bytes
        self._files: dict[int, _ShardFileWriter] = {}
        self._buffers: dict[str, RowBuffer] = {}
        self._layouts: dict[str, Layout] = {}
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self.md5: dict[str, str] = {}
        """MD5 of every file, by its name, once committed: what DVC calls content by."""

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.discard()
        self._buffers.clear()

    def add(self, rows: Rows) -> None:
        """Write `rows`, or hold a copy of them until a batch is full."""
        hookpoint, (_, tokens, width) = str(rows.hookpoint), rows.values.shape
        layout = Layout(hookpoint=hookpoint, width=width, grid=rows.grid or (tokens,))
        if self._layouts.setdefault(hookpoint, layout) != layout:
            raise ValueError(f"{hookpoint} gave {layout} after {self._layouts[hookpoint]}")
        if width not in self._files:
            # The key in the name: content of another key never stands under a name that a manifest lists.
            path = self._folder / f"{self._name}.{self._key[:16]}.d{width}.arrow"
            self._files[width] = _ShardFileWriter(path, self._dtype, width)
        if self._batch_bytes:
            self._write(width, self._buffer(hookpoint, tokens, width).add(rows))
            return
        batch, lost = record_batch(rows, self._dtype, self._hookpoints, self._items)
        self._write(width, [batch])
        self._counts[hookpoint] += batch.num_rows
        self._dropped[hookpoint] += lost

    def commit(self) -> Shard:
        """Write what is held, make the files durable, give them their names."""
        for hookpoint, buffer in self._buffers.items():
            self._write(self._layouts[hookpoint].width, buffer.flush())
            self._counts[hookpoint] += buffer.rows
            self._dropped[hookpoint] += buffer.dropped
        finished = tuple(self._files[width].commit() for width in sorted(self._files))
        self.md5 = {file.path: self._files[file.width].md5 for file in finished}
        if self._dropped.total():
            log.warning("%d rows of shard %s are not finite and were left out", self._dropped.total(), self._name)
        return Shard(
            name=self._name,
            key=self._key,
            items=len(self._items),
            files=finished,
            rows=dict(self._counts),
            dropped=dict(self._dropped),
            layouts=tuple(self._layouts.values()),
        )

    def _buffer(self, hookpoint: str, tokens: int, width: int) -> RowBuffer:
        if hookpoint not in self._buffers:
            capacity = max(tokens, self._batch_bytes // (width * DTYPES[self._dtype].itemsize))
            self._buffers[hookpoint] = RowBuffer(self._hookpoints, self._items, self._dtype, width, capacity)
        return self._buffers[hookpoint]

    def _write(self, width: int, batches: Iterable[Any]) -> None:
        for batch in batches:
            self._files[width].write(batch)


class _ShardFileWriter:
    """An Arrow file that gets its name when it is whole, hashed while it is written."""

    def __init__(self, path: Path, dtype: Dtype, width: int) -> None:
        import pyarrow as pa

        self._path, self._width, self._rows = path, width, 0
        # A name of its own: two workers may be at the same shard, on two machines even.
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        self._file = _HashingFile(self._temporary.open("wb", buffering=0))
        self._arrow = pa.ipc.new_file(self._file, schema(dtype, width), options=pa.ipc.IpcWriteOptions())

    @property
    def md5(self) -> str:
        return self._file.md5.hexdigest()

    def write(self, batch: Any) -> None:
        self._arrow.write_batch(batch)
        self._rows += batch.num_rows

    def commit(self) -> ShardFile:
        self._arrow.close()
        self._file.sync()
        self._temporary.replace(self._path)
        return ShardFile(
            path=self._path.name,
            width=self._width,
            rows=self._rows,
            bytes=self._file.size,
            sha256=self._file.digest.hexdigest(),
        )

    def discard(self) -> None:
        """Close, and leave nothing if it has not been committed."""
        self._file.abandon()
        self._temporary.unlink(missing_ok=True)


class _HashingFile:
    """The part of a binary file that Arrow's writer uses, with a running SHA-256 and MD5."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest, self.size = file, hashlib.sha256(), 0
        self.md5 = hashlib.md5(usedforsecurity=False)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        left = view
        while left.nbytes:  # unbuffered, so that big batches are not copied once more; it may take a part only
            left = left[self._file.write(left) :]
        self.digest.update(view)
        self.md5.update(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        # Arrow closes its sink with the footer; the bytes are made durable by `sync` before the name is given.
        pass

    @property
    def closed(self) -> bool:
        return self._file.closed

    def abandon(self) -> None:
        self._file.close()
