"""Rows of one hookpoint, gathered from many forwards into big record batches, in memory that is used again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from steerwright.activations.store.rows import BRANCHES, DTYPES, TOKEN_TYPES, Rows, positions, schema, values_column
from steerwright.models.spec import Dtype

if TYPE_CHECKING:
    import pyarrow as pa

_IMAGE = TOKEN_TYPES.index("image")


class RowBuffer:
    """Takes `Rows` of denoising steps; gives a record batch whenever `capacity` rows (at least an image) have gathered.

    A batch lies in the buffer's own memory: use it up before asking for the next. Rows keep the
    order in which they came; those that are not finite are left out and counted in `dropped`.
    """

    def __init__(
        self, hookpoints: Sequence[str], prompts: Sequence[str], dtype: Dtype, width: int, capacity: int
    ) -> None:
        import numpy as np
        import pyarrow as pa

        self.rows = self.dropped = 0
        self._dtype, self._capacity, self._held = dtype, capacity, 0
        self._schema = schema(dtype, width)
        # Not written to until rows come, so that a buffer larger than its rows costs no memory.
        self._values = torch.empty(capacity, width, dtype=DTYPES[dtype])
        self._columns = {
            name: np.empty(capacity, kind)
            for name, kind in {
                "hookpoint": np.int32, "step": np.int32, "timestep": np.float64, "sigma": np.float64,
                "branch": np.int32, "prompt": np.int32, "seed": np.int64, "token": np.int32, "token_type": np.int32,
            }.items()
        }  # fmt: skip
        names = {"hookpoint": hookpoints, "branch": BRANCHES, "prompt": prompts, "token_type": TOKEN_TYPES}
        self._names = {column: pa.array(list(known), pa.utf8()) for column, known in names.items()}
        self._hookpoints = {name: place for place, name in enumerate(hookpoints)}
        self._prompts = {name: place for place, name in enumerate(prompts)}

    def add(self, rows: Rows) -> Iterator[pa.RecordBatch]:
        """Take `rows`, of a denoiser (with step and seeds); what this filled up, one batch at a time."""
        import numpy as np

        n, tokens, width = rows.values.shape
        if rows.values.dtype != self._values.dtype or width != self._values.shape[1]:
            raise ValueError(f"{rows.values.dtype} rows of {width} at {rows.hookpoint} do not fit this buffer")
        if rows.step is None or rows.seeds is None:
            raise ValueError(f"rows at {rows.hookpoint} are not of a denoising step")
        if not len(rows.prompts) == len(rows.seeds) == n:
            raise ValueError(f"{n} prompts' activations at {rows.hookpoint} came with {len(rows.prompts)} ids")
        prompts = np.repeat([self._prompts[prompt] for prompt in rows.prompts], tokens)
        seeds = np.repeat(np.asarray(rows.seeds, np.int64), tokens)
        token = positions(rows)
        types = None if rows.token_types is None else rows.token_types.cpu().numpy().reshape(-1)
        constants = {
            "hookpoint": self._hookpoints[str(rows.hookpoint)],
            "step": rows.step.index,
            "timestep": rows.step.timestep,
            "sigma": rows.step.sigma,
            "branch": BRANCHES.index(rows.branch),
            "token_type": _IMAGE,
        }
        per_prompt = max(1, self._capacity // tokens)
        for first in range(0, n, per_prompt):
            some = rows.values[first : first + per_prompt]
            count = len(some) * tokens
            if self._held + count > self._capacity:
                yield from self.flush()
            at, place = slice(self._held, self._held + count), slice(first * tokens, first * tokens + count)
            self._values[at].view(len(some), tokens, width).copy_(some)
            for name, value in constants.items():
                self._columns[name][at] = value
            self._columns["prompt"][at] = prompts[place]
            self._columns["seed"][at] = seeds[place]
            self._columns["token"][at] = token[place]
            if types is not None:
                self._columns["token_type"][at] = types[place]
            self._held += self._without_non_finite(at, count)

    def flush(self) -> Iterator[pa.RecordBatch]:
        """What is held, if anything, as one batch; the buffer is empty when the next is asked for."""
        import pyarrow as pa

        if not self._held:
            return
        count, arrays = self._held, []
        for field in self._schema:
            if field.name == "values":
                held = self._values[:count]
                bits = held.view(torch.uint16) if self._dtype == "bfloat16" else held
                arrays.append(values_column(bits, self._schema))
                continue
            plain = pa.array(self._columns[field.name][:count])
            names = self._names.get(field.name)
            arrays.append(plain if names is None else pa.DictionaryArray.from_arrays(plain, names))
        yield pa.record_batch(arrays, schema=self._schema)
        self.rows += count
        self._held = 0

    def _without_non_finite(self, at: slice, count: int) -> int:
        """How many of the rows just written stay; the others are closed up over."""
        values = self._values[at]
        # One sum tells of nearly all forwards that every row is finite: in float64 finite values cannot overflow it.
        if torch.isfinite(values.sum(dtype=torch.float64)):
            return count
        finite = torch.isfinite(values).all(1)
        kept = int(finite.sum())
        values[:kept] = values[finite]
        for column in self._columns.values():
            held = column[at]
            held[:kept] = held[finite.numpy()]
        self.dropped += count - kept
        return kept
