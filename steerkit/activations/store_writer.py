"""Write an activation store shard by shard: streamed, atomic, and without doing again what is already there."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from steerkit.activations.manifest import MANIFEST, Manifest, Shard, read_manifest
from steerkit.activations.rows import Rows
from steerkit.activations.shard_writer import ShardWriter
from steerkit.activations.whole_file import enough_space
from steerkit.errors import UserError
from steerkit.models.fingerprint import Fingerprint
from steerkit.models.hookpoint import Hookpoint
from steerkit.models.spec import Dtype

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
