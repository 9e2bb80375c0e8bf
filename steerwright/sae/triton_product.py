"""The products of steerwright/sae/products.py as Triton kernels, for float32 tables on CUDA.

Every sum runs in a fixed order, so that equal inputs give equal bits; nothing is added atomically, and nothing waits
for the device. Without Triton or CUDA the plain torch products serve.
"""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

AVAILABLE = find_spec("triton") is not None

ENTRIES_AT_ONCE = 8
"""Entries of a bag that are read side by side: enough loads in flight to keep the memory busy."""
COLUMNS_AT_ONCE = 256


def serves(table: Tensor) -> bool:
    """Whether the kernels can be used on this table."""
    return AVAILABLE and table.is_cuda and table.dtype == torch.float32


def bag_sums(table: Tensor, members: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """As `sparse_product.bag_sums`; `table` [n, d] with rows contiguous."""
    width, bags = table.shape[1], len(ends) - 1
    out = torch.empty(bags, width, dtype=table.dtype, device=table.device)
    if bags:
        columns = _block(width)
        _bag_sums[(bags, -(-width // columns))](
            table, members, weights, ends, out, width, table.stride(0), ENTRIES=ENTRIES_AT_ONCE, COLUMNS=columns
        )
    return out


def entry_products(bags: Tensor, table: Tensor, bag: Tensor, members: Tensor) -> Tensor:
    """As `sparse_product.entry_products`; `bags` and `table` with rows contiguous."""
    out = torch.empty(len(members), dtype=table.dtype, device=table.device)
    if len(members):
        grid = (-(-len(members) // ENTRIES_AT_ONCE),)
        _entry_products[grid](
            bags,
            table,
            bag,
            members,
            out,
            len(members),
            table.shape[1],
            bags.stride(0),
            table.stride(0),
            ENTRIES=ENTRIES_AT_ONCE,
            COLUMNS=_block(table.shape[1]),
        )
    return out


def _block(width: int) -> int:
    """Columns that one program reads at once: a power of 2, as Triton wants it, no larger than the width needs."""
    return min(COLUMNS_AT_ONCE, 1 << (width - 1).bit_length())


_bag_sums: Any
_entry_products: Any

if AVAILABLE:
    import triton
    import triton.language as tl

    @triton.jit
    def _bag_sums(table, members, weights, ends, out, width, stride, ENTRIES: tl.constexpr, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def,no-redef]
        bag = tl.program_id(0).to(tl.int64)
        column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
        inside = column < width
        first = tl.load(ends + bag)
        last = tl.load(ends + bag + 1)
        total = tl.zeros((COLUMNS,), dtype=tl.float32)
        for start in range(first, last, ENTRIES):
            entry = start + tl.arange(0, ENTRIES)
            used = entry < last
            member = tl.load(members + entry, mask=used, other=0)
            weight = tl.load(weights + entry, mask=used, other=0.0)
            rows = tl.load(
                table + member[:, None] * stride + column[None, :], mask=used[:, None] & inside[None, :], other=0.0
            )
            total += tl.sum(rows * weight[:, None], axis=0)
        tl.store(out + bag * width + column, total, mask=inside)

    @triton.jit
    def _entry_products(  # type: ignore[no-untyped-def,no-redef]
        bags, table, bag, members, out, entries, width, bag_stride, stride, ENTRIES: tl.constexpr, COLUMNS: tl.constexpr
    ):
        entry = tl.program_id(0).to(tl.int64) * ENTRIES + tl.arange(0, ENTRIES)
        used = entry < entries
        its_bag = tl.load(bag + entry, mask=used, other=0)
        member = tl.load(members + entry, mask=used, other=0)
        total = tl.zeros((ENTRIES,), dtype=tl.float32)
        for start in range(0, width, COLUMNS):
            column = start + tl.arange(0, COLUMNS)
            read = used[:, None] & (column < width)[None, :]
            left = tl.load(bags + its_bag[:, None] * bag_stride + column[None, :], mask=read, other=0.0)
            right = tl.load(table + member[:, None] * stride + column[None, :], mask=read, other=0.0)
            total += tl.sum(left * right, axis=1)
        tl.store(out + entry, total, mask=used)
