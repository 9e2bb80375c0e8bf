"""Rows of the activation store, in memory and as Arrow record batches. Normative: docs/formats.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steerwright.models.families import Step
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.running import Branch
from steerwright.models.spec import Dtype

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

BRANCHES: tuple[Branch, ...] = ("cond", "uncond", "none")
TOKEN_TYPES = ("bos", "content", "eos", "padding", "image")
# Arrow has no bfloat16: its bits are kept as uint16, and the manifest's dtype says what they are.
DTYPES: dict[Dtype, torch.dtype] = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Activations of some prompts at one hookpoint, from one forward and one branch.

    values: [n, tokens, d], prompt by prompt, on any device; prompts: n ids; seeds: n, None for the text encoder;
    step: None for the text encoder; grid: (tokens,) or (h, w) with h * w = tokens; token_types: [n, tokens] indices
    into TOKEN_TYPES, None for image tokens; positions: int64 [n, tokens], ascending, where only a sample of the grid's
    tokens was taken, None for all of them in order.
    """

    hookpoint: Hookpoint
    values: Tensor
    prompts: Sequence[str]
    seeds: Sequence[int] | None = None
    step: Step | None = None
    branch: Branch = "none"
    grid: tuple[int, ...] | None = None
    token_types: Tensor | None = None
    positions: Tensor | None = None


def dtype_name(dtype: torch.dtype) -> Dtype:
    """The store's name of `dtype`; KeyError for one it cannot hold."""
    return {held: name for name, held in DTYPES.items()}[dtype]


def schema(dtype: Dtype, width: int) -> pa.Schema:
    """The Arrow schema of a file whose rows have `width` values of `dtype`."""
    import pyarrow as pa

    element = {"float32": pa.float32(), "float16": pa.float16(), "bfloat16": pa.uint16()}[dtype]
    return pa.schema(
        [
            pa.field("hookpoint", pa.dictionary(pa.int32(), pa.utf8()), nullable=False),
            pa.field("step", pa.int32()),
            pa.field("timestep", pa.float64()),
            pa.field("sigma", pa.float64()),
            pa.field("branch", pa.dictionary(pa.int32(), pa.utf8()), nullable=False),
            pa.field("prompt", pa.dictionary(pa.int32(), pa.utf8()), nullable=False),
            pa.field("seed", pa.int64()),
            pa.field("token", pa.int32(), nullable=False),
            pa.field("token_type", pa.dictionary(pa.int32(), pa.utf8()), nullable=False),
            pa.field("values", pa.list_(pa.field("item", element, nullable=False), width), nullable=False),
        ],
        metadata={"steerwright.dtype": dtype},
    )


def record_batch(
    rows: Rows, dtype: Dtype, hookpoints: Sequence[str], prompts: Sequence[str]
) -> tuple[pa.RecordBatch, int]:
    """`rows` as a record batch without the rows that are not finite, and how many those were.

    `hookpoints` and `prompts` are the dictionaries, the same for every batch of a file, as Arrow wants.
    """
    import numpy as np
    import pyarrow as pa

    n, tokens, width = rows.values.shape
    if len(rows.prompts) != n or (rows.seeds is not None and len(rows.seeds) != n):
        raise ValueError(f"{n} prompts' activations at {rows.hookpoint} came with {len(rows.prompts)} ids")
    if rows.values.dtype != DTYPES[dtype]:
        raise ValueError(f"activations at {rows.hookpoint} are {rows.values.dtype}, the store's dtype is {dtype}")
    values = rows.values.detach().to("cpu").reshape(n * tokens, width)
    finite = torch.isfinite(values).all(1)
    dropped = int((~finite).sum())
    values = (values[finite] if dropped else values).contiguous()
    keep, count = finite.numpy(), len(values)

    def column(numbers: Any, type_: pa.DataType) -> pa.Array:
        return pa.array(np.ascontiguousarray(numbers)[keep], type_)

    def constant(value: Any, type_: pa.DataType) -> pa.Array:
        return pa.nulls(count, type_) if value is None else pa.array(np.full(count, value), type_)

    def named(indices: Any, names: Sequence[str]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(list(names), pa.utf8()))

    place = {prompt: index for index, prompt in enumerate(prompts)}
    bits = values.view(torch.uint16) if dtype == "bfloat16" else values
    step, file_schema = rows.step, schema(dtype, width)
    if rows.token_types is None:
        types = np.full(n * tokens, TOKEN_TYPES.index("image"))
    else:
        types = rows.token_types.cpu().numpy().reshape(-1)
    columns = [
        named(np.full(count, list(hookpoints).index(str(rows.hookpoint))), hookpoints),
        constant(step and step.index, pa.int32()),
        constant(step and step.timestep, pa.float64()),
        constant(step and step.sigma, pa.float64()),
        named(np.full(count, BRANCHES.index(rows.branch)), BRANCHES),
        named(np.repeat([place[prompt] for prompt in rows.prompts], tokens)[keep], prompts),
        constant(None, pa.int64()) if rows.seeds is None else column(np.repeat(rows.seeds, tokens), pa.int64()),
        column(positions(rows), pa.int32()),
        named(types[keep], TOKEN_TYPES),
        values_column(bits, file_schema),
    ]
    return pa.record_batch(columns, schema=file_schema), dropped


def positions(rows: Rows) -> npt.NDArray[np.int64]:
    """The token position of each of the n * tokens rows."""
    import numpy as np

    n, tokens, _ = rows.values.shape
    if rows.positions is None:
        return np.tile(np.arange(tokens), n)
    positions: npt.NDArray[np.int64] = rows.positions.cpu().numpy().reshape(-1)
    return positions


def values_column(bits: Tensor, file_schema: pa.Schema) -> pa.FixedSizeListArray:
    """Contiguous values [rows, d] (bfloat16: viewed as uint16) as the column `values`, without a copy."""
    import pyarrow as pa

    kind = file_schema.field("values").type
    return pa.FixedSizeListArray.from_arrays(pa.array(bits.numpy().reshape(-1), kind.value_type), type=kind)


def to_torch(array: pa.FixedSizeListArray, dtype: Dtype) -> Tensor:
    """The values of a record batch as [rows, d], without a copy; the memory is the file's: do not write to it."""
    width = array.type.list_size
    # DLPack rather than the buffer protocol: torch warns about read-only buffers, and a memory map is one.
    flat = torch.from_dlpack(array.flatten())
    return (flat.view(torch.bfloat16) if dtype == "bfloat16" else flat).reshape(-1, width)


def token_grid(tokens: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the `tokens` that a picture of height x width pixels has at some depth of the UNet.

    Raises ValueError when no grid of about these proportions has so many.
    """
    rows = round((tokens * height / width) ** 0.5)
    if rows == 0 or tokens % rows:
        raise ValueError(f"{tokens} tokens are no grid of a picture of {height} x {width} pixels")
    return rows, tokens // rows
