"""Write an activation store shard by shard: streamed, atomic, and without doing again what is already there."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

from steerwright.activations.store.format import MANIFEST, Layout, Manifest, Shard, ShardFile, read_manifest
from steerwright.activations.store.row_buffer import RowBuffer
from steerwright.activations.store.rows import DTYPES, Rows, record_batch, schema
from steerwright.errors import UserError
from steerwright.files import enough_space
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.spec import Dtype

log = logging.getLogger(__name__)


class StoreWriter:
    """Fills `folder`, which may hold finished shards of an earlier attempt; use it as a context manager.

    `earlier` maps the file names of an earlier version of the folder to where its files lie (they are only read and
    linked to, never written). A shard counts once the manifest lists it, and the manifest is replaced by rename.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: Fingerprint,
        dtype: Dtype,
        hookpoints: Sequence[Hookpoint],
        provenance: Mapping[str, Any],
        earlier: Mapping[str, Path] | None = None,
    ) -> None:
        self._folder = folder
        self._hookpoints = [str(hookpoint) for hookpoint in hookpoints]
        self._manifest = Manifest(
            complete=False,
            model=model,
            dtype=dtype,
            provenance=dict(provenance),
            shards=(),
        )
        self._shards: dict[str, Shard] = {}
        self._earlier = dict(earlier or {})
        self._known = self._earlier_shards()
        folder.mkdir(parents=True, exist_ok=True)
        self._resumable = {shard.name: shard for shard in self._resume()}

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()

    def reuse(self, name: str, key: str) -> bool:
        """Take over the shard `name` if an earlier attempt or version holds it under the same `key`."""
        held = self._resumable.get(name)
        if held is not None and held.key == key:
            self._add(held)
            return True
        known = self._known.get(name)
        if known is None or known.key != key:
            return False
        with self._enough_space():
            linked = self._link(known)
            if linked:
                self._add(known)
        return linked

    def write_shard(self, name: str, key: str, items: Sequence[str], rows: Iterable[Rows]) -> Shard:
        """Write a shard from `rows`, holding one element of it in memory at a time; `items` are all its prompt ids.

        After an exception nothing of the shard is left. A full disk is a UserError.
        """
        with self._enough_space():
            shard = self._write(name, key, items, rows)
            self._add(shard)
        return shard

    def finish(self) -> None:
        """Declare the store complete and remove every file that is not part of it."""
        listed = {file.path for shard in self._shards.values() for file in shard.files}
        for path in self._folder.iterdir():
            if path.name not in listed and path.name != MANIFEST:
                path.unlink()
        self._resumable = {}
        with self._enough_space():
            self._save(complete=True)

    def _enough_space(self) -> AbstractContextManager[None]:
        return enough_space(f"the activations in {self._folder}", f"the {len(self._shards)} finished shards")

    def _write(self, name: str, key: str, items: Sequence[str], rows: Iterable[Rows]) -> Shard:
        with ShardWriter(
            self._folder, name, key, items, dtype=self._manifest.dtype, hookpoints=self._hookpoints
        ) as writer:
            for part in rows:
                writer.add(part)
            return writer.commit()

    def _link(self, shard: Shard) -> bool:
        for file in shard.files:
            source = self._earlier.get(file.path)
            if source is None or not source.is_file() or source.stat().st_size != file.bytes:
                return False
        for file in shard.files:
            target = self._folder / file.path
            target.unlink(missing_ok=True)
            try:
                os.link(self._earlier[file.path], target)
            except OSError:  # another file system, or one without hard links
                shutil.copyfile(self._earlier[file.path], target)
        return True

    def _add(self, shard: Shard) -> None:
        self._shards[shard.name] = shard
        self._save(complete=False)

    def _save(self, complete: bool) -> None:
        # Ordered by name, so that the same content has the same bytes whatever was reused or resumed.
        # Shards of an earlier attempt stay listed until it is known whether they serve, or a kill would lose them.
        held = {**self._resumable, **self._shards}
        shards = tuple(held[name] for name in sorted(held))
        self._manifest = self._manifest.model_copy(update={"shards": shards, "complete": complete})
        self._manifest.write(self._folder)

    def _resume(self) -> tuple[Shard, ...]:
        if not (self._folder / MANIFEST).is_file():
            return ()
        return tuple(shard for shard in self._comparable(self._folder / MANIFEST) if self._is_whole(shard))

    def _earlier_shards(self) -> dict[str, Shard]:
        if MANIFEST not in self._earlier:
            return {}
        return {shard.name: shard for shard in self._comparable(self._earlier[MANIFEST])}

    def _comparable(self, path: Path) -> tuple[Shard, ...]:
        try:
            found = read_manifest(path)
        except UserError as error:  # an older schema, or damage: nothing to reuse, which costs only time
            log.info("nothing is reused from an earlier store: %s", error)
            return ()
        same = found.model.same_model(self._manifest.model) and found.dtype == self._manifest.dtype
        return found.shards if same else ()

    def _is_whole(self, shard: Shard) -> bool:
        paths = [(self._folder / file.path, file.bytes) for file in shard.files]
        return all(path.is_file() and path.stat().st_size == size for path, size in paths)


# Write the files of one shard: streamed, hashed on the way, named when they are whole.


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
