"""A store as big as one likes on a small disk: real files, whose zeros are holes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from steerwright.activations.store.format import Layout, Manifest, Shard, ShardFile
from steerwright.activations.store.rows import BRANCHES, TOKEN_TYPES, schema
from steerwright.models.fingerprint import Fingerprint

# SD 1.4 at the hookpoint of SAeUron (arXiv:2501.18052): 256 tokens of 1280 half-precision values, 50 steps.
HOOKPOINT, WIDTH, GRID, STEPS = "unet.up_blocks.1.attentions.1:out", 1280, (16, 16), 50
PICTURES_PER_SHARD = 8
_BATCH_ROWS = 6400
_HOLE = 1 << 12


def write_sparse_store(folder: Path, size: int) -> int:
    """Fill `folder` with a store of at least `size` bytes, all of whose rows are zeros; its size."""
    folder.mkdir(parents=True)
    shards: list[Shard] = []
    total = 0
    while total < size:
        name = f"train-{len(shards):06d}"
        ids = [f"train{len(shards) * PICTURES_PER_SHARD + i}" for i in range(PICTURES_PER_SHARD)]
        rows = PICTURES_PER_SHARD * STEPS * GRID[0] * GRID[1]
        path = folder / f"{name}.{'0' * 16}.d{WIDTH}.arrow"
        with path.open("wb") as file:
            bytes_ = _write(file, ids, rows)
        written = ShardFile(path=path.name, width=WIDTH, rows=rows, bytes=bytes_, sha256="0" * 64)
        shards.append(
            Shard(
                name=name, key="0" * 64, items=len(ids), files=(written,), rows={HOOKPOINT: rows}, dropped={},
                layouts=(Layout(hookpoint=HOOKPOINT, width=WIDTH, grid=GRID),),
            )
        )  # fmt: skip
        total += bytes_
    model = Fingerprint(name="none", source="none", revision=None, digest="0" * 64, libraries={})
    Manifest(complete=True, model=model, dtype="float16", provenance={}, shards=tuple(shards)).write(folder)
    return total


def _write(file: BinaryIO, ids: list[str], rows: int) -> int:
    sink = _Sparse(file)
    kind = schema("float16", WIDTH)
    names = {"hookpoint": [HOOKPOINT], "branch": BRANCHES, "prompt": ids, "token_type": TOKEN_TYPES}
    known = {column: pa.array(list(values), pa.utf8()) for column, values in names.items()}
    with pa.ipc.new_file(sink, kind) as writer:
        for start in range(0, rows, _BATCH_ROWS):
            count = min(_BATCH_ROWS, rows - start)
            arrays = []
            for field in kind:
                if field.name == "values":
                    flat = pa.array(np.zeros(count * WIDTH, np.float16))
                    arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type))
                elif field.name in known:
                    arrays.append(
                        pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), known[field.name])
                    )
                else:
                    arrays.append(pa.array(np.zeros(count), field.type, from_pandas=False))
            writer.write_batch(pa.record_batch(arrays, schema=kind))
    file.truncate(sink.size)
    return sink.size


class _Sparse:
    """The part of a file that Arrow's writer uses; long writes, which here are zeros, only move on."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.size = file, 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if view.nbytes < _HOLE:
            self._file.seek(self.size)
            self._file.write(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self.flush()
