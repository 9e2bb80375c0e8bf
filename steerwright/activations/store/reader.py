"""Read an activation store: memory-mapped, zero-copy into torch, one hookpoint at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from steerwright.activations.store.arrow import ArrowFile
from steerwright.activations.store.format import MANIFEST, Layout, Manifest, read_manifest
from steerwright.activations.store.rows import DTYPES, TOKEN_TYPES, to_torch
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

# What `stream` reads at once: small enough to be still in the processor's cache when the caller works on it.
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class PromptGrid:
    """Activations of prompts by position, and what each position holds.

    `values`: [n, tokens, d] in the store's dtype; `types`: a bool mask [n, tokens] per token type (bos, content, ...).
    """

    values: Tensor
    types: Mapping[str, Tensor]


def open_store(folder: Path) -> Store:
    """Open the store in `folder`; UserError when it is missing, unfinished, of another version, or lacks a file."""
    manifest = read_manifest(folder / MANIFEST)
    if not manifest.complete:
        raise UserError(f"The activation store {folder} is not finished; run the stage that collects it again.")
    for shard in manifest.shards:
        for file in shard.files:
            path = folder / file.path
            if not path.is_file() or path.stat().st_size != file.bytes:
                raise UserError(f"The activation store lacks {path} or it is damaged; restore it, or collect again.")
    return Store(folder, manifest)


class Store:
    """An open store. Tensors that it gives without copying lie in the files: clone before writing to them."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._files: dict[str, ArrowFile] = {}

    @property
    def hookpoints(self) -> list[Hookpoint]:
        return [Hookpoint.parse(name) for name in self.manifest.layouts]

    def layout(self, hookpoint: Hookpoint) -> Layout:
        """Width and token grid at `hookpoint`; UserError with the store's hookpoints when it has none there."""
        layout = self.manifest.layouts.get(str(hookpoint))
        if layout is None:
            known = ", ".join(self.manifest.layouts) or "none"
            raise UserError(f"The activation store {self.folder} has no hookpoint {hookpoint}; it has {known}.")
        return layout

    def batches(self, hookpoint: Hookpoint) -> Iterator[tuple[Tensor, pa.RecordBatch]]:
        """Zero-copy values [rows, d] and their record batch, one after the other; for streaming.

        The rows of each have the same step and the same branch. `blocks` gives more rows at once, mixed.
        """
        for values, batch in self.blocks(hookpoint):
            for start, stop in _forwards(batch):
                if (start, stop) == (0, batch.num_rows):
                    yield values, batch
                else:
                    yield values[start:stop], batch.slice(start, stop - start)

    def blocks(self, hookpoint: Hookpoint) -> Iterator[tuple[Tensor, pa.RecordBatch]]:
        """As `batches`, but as the files hold them: big ones, with rows of several steps and branches."""
        for file, number in self.places(hookpoint):
            batch = file.batch(number)
            yield to_torch(batch.column("values"), self.manifest.dtype), batch

    def stream(self, hookpoint: Hookpoint) -> Iterator[Tensor]:
        """All values, [rows, d] at a time in the order of `index`, read into memory that the next ones overwrite.

        For a pass over everything: about as fast as the system can read the files, while a map costs faults, whose
        pages count as memory of the process.
        """
        width, dtype = self.layout(hookpoint).width, DTYPES[self.manifest.dtype]
        row = width * dtype.itemsize
        memory = torch.empty(max(1, _READ_BYTES // row) * row, dtype=torch.uint8)
        buffer, rows, before = memoryview(memory.numpy()), memory.view(dtype).reshape(-1, width), None
        for file, number in self.places(hookpoint):
            if before is not None and before is not file:
                before.close()
            before, size = file, file.rows(number) * row
            for at in range(0, size, len(buffer)):
                count = min(len(buffer), size - at)
                file.read_values(number, buffer[:count], at)
                yield rows[: count // row]

    def places(self, hookpoint: Hookpoint) -> Iterator[tuple[ArrowFile, int]]:
        """The file and number of each of its record batches, of whose rows nothing is read."""
        width = self.layout(hookpoint).width
        for shard in self.manifest.shards:
            if not shard.rows.get(str(hookpoint)):
                continue
            for path in (file.path for file in shard.files if file.width == width):
                file = self._file(path)
                for number in range(len(file)):
                    if file.hookpoint(number) == str(hookpoint):
                        yield file, number

    def read(self, hookpoint: Hookpoint) -> Tensor:
        """All rows [rows, d] at `hookpoint`, in the order of `index`; a view into the file if it is one batch."""
        values = [values for values, _ in self.blocks(hookpoint)]
        if not values:
            return torch.zeros(0, self.layout(hookpoint).width, dtype=DTYPES[self.manifest.dtype])
        return values[0] if len(values) == 1 else torch.cat(values)

    def index(self, hookpoint: Hookpoint) -> pl.DataFrame:
        """Prompt, seed, step, timestep, sigma, branch, token and token_type of every row that `read` gives."""
        import polars as pl
        import pyarrow as pa

        batches = [file.index(number) for file, number in self.places(hookpoint)]
        if not batches:
            return pl.DataFrame()
        return pl.concat([_plain(pa.Table.from_batches([batch])) for batch in batches])

    def prompts(self, hookpoint: Hookpoint, prompts: Sequence[str]) -> PromptGrid:
        """Activations of `prompts` in this order, where each was recorded once (text encoder: one row per position).

        UserError when a prompt is missing, when rows of it were dropped as not finite, or when it has several steps.
        """
        layout = self.layout(hookpoint)
        tokens = int(torch.tensor(layout.grid).prod())
        place = {prompt: index for index, prompt in enumerate(prompts)}
        if len(place) != len(prompts):
            raise ValueError("a prompt id was asked for twice")
        values = torch.zeros(len(prompts) * tokens, layout.width, dtype=DTYPES[self.manifest.dtype])
        types = torch.full((len(prompts) * tokens,), -1, dtype=torch.int64)
        filled = torch.zeros(len(prompts) * tokens, dtype=torch.int64)
        for rows, batch in self.blocks(hookpoint):
            names = batch.column("prompt").dictionary.to_pylist()
            wanted = torch.tensor([place.get(name, -1) for name in names])[_indices(batch, "prompt")]
            kept = wanted >= 0
            target = wanted[kept] * tokens + torch.from_dlpack(batch.column("token")).long()[kept]
            values[target] = rows[kept]
            types[target] = _indices(batch, "token_type")[kept]
            filled += torch.bincount(target, minlength=len(filled))
        self._check_filled(hookpoint, prompts, filled.reshape(len(prompts), tokens))
        masks = {name: (types == number).reshape(-1, tokens) for number, name in enumerate(TOKEN_TYPES)}
        return PromptGrid(values.reshape(-1, tokens, layout.width), masks)

    def verify(self) -> None:
        """Read every file and compare its hash with the manifest's; UserError that names the first that differs."""
        for shard in self.manifest.shards:
            for file in shard.files:
                with (self.folder / file.path).open("rb") as content:
                    if hashlib.file_digest(content, "sha256").hexdigest() != file.sha256:
                        raise UserError(f"{self.folder / file.path} is damaged (its hash differs); collect again.")

    def _check_filled(self, hookpoint: Hookpoint, prompts: Sequence[str], filled: Tensor) -> None:
        for prompt, counts in zip(prompts, filled, strict=True):
            if (counts > 1).any():
                raise UserError(
                    f"Prompt {prompt!r} was recorded {int(counts.max())} times at {hookpoint} (steps, seeds or "
                    "branches); read its rows with `read` and `index` instead."
                )
            if (counts == 0).all():
                raise UserError(f"The activation store {self.folder} has no prompt {prompt!r}; collect it first.")
            if (counts == 0).any():
                if not any(shard.dropped.get(str(hookpoint)) for shard in self.manifest.shards):
                    raise UserError(
                        f"The activation store {self.folder} has only a sample of the tokens at {hookpoint}, "
                        f"not all of prompt {prompt!r}; read it with `batches`, or collect with tokens: null."
                    )
                raise UserError(
                    f"{int((counts == 0).sum())} tokens of prompt {prompt!r} at {hookpoint} were not finite and are "
                    "not in the store; leave the prompt out, or collect with dtype float32."
                )

    def _file(self, path: str) -> ArrowFile:
        return self._files.setdefault(path, ArrowFile(self.folder / path))


def _indices(batch: pa.RecordBatch, column: str) -> Tensor:
    return torch.from_dlpack(batch.column(column).indices).long()


def _forwards(batch: pa.RecordBatch) -> list[tuple[int, int]]:
    """First row and end of each part of a batch whose rows have one step and one branch."""
    import numpy as np

    step = batch.column("step").fill_null(-1).to_numpy()
    branch = batch.column("branch").indices.to_numpy()
    changes = (np.flatnonzero((np.diff(step) != 0) | (np.diff(branch) != 0)) + 1).tolist()
    return list(zip([0, *changes], [*changes, batch.num_rows], strict=True))


def _plain(table: pa.Table) -> pl.DataFrame:
    """As polars, with strings for dictionaries: those of different shards differ."""
    import polars as pl
    import pyarrow as pa

    fields = [(f.name, pa.utf8() if pa.types.is_dictionary(f.type) else f.type) for f in table.schema]
    frame = pl.from_arrow(table.cast(pa.schema(fields)))
    assert isinstance(frame, pl.DataFrame)
    return frame
