"""Products with sparse latents that never build the dense [rows, n] matrix: O(k d) for a row, not O(n d).

A *bag* is what is summed up: a row's active latents to decode it, a latent's rows to get its gradient. On CUDA Triton
kernels do the same (steerkit/sae/triton_product.py).
"""

import torch
from torch import Tensor
from torch.nn import functional

from steerkit.sae import triton_product


def weighted_rows(indices: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """Sum over places of weights * table[indices]: [rows, places] of a `table` [n, d] give [rows, d].

    A place with index -1 is not used. The sum of a row runs over its places in order, whatever else is in the batch.
    """
    if indices.shape[1] == 0:
        return table.new_zeros(len(indices), table.shape[1])
    used = indices >= 0
    return functional.embedding_bag(
        indices.clamp(min=0), table, mode="sum", per_sample_weights=torch.where(used, weights, 0.0).to(table.dtype)
    )


def bag_sums(table: Tensor, members: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """Sums of bags [bags, d]: bag i is the sum of weights * table[members] over entries ends[i] up to ends[i + 1].

    `table` [n, d]; `members` int64 and `weights`, both [entries]; `ends` int64 [bags + 1].
    """
    if triton_product.serves(table):
        return triton_product.bag_sums(table, members, weights, ends)
    return functional.embedding_bag(
        members, table, ends, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def entry_products(bags: Tensor, table: Tensor, bag: Tensor, members: Tensor, ends: Tensor) -> Tensor:
    """Inner products [entries] of bags[bag] and table[members]: what `bag_sums` passes back to its weights.

    `bags` [bags, d], `table` [n, d]; `bag` and `members` int64 [entries], `bag` in order; `ends` int64 [bags + 1].
    """
    if triton_product.serves(table):
        return triton_product.entry_products(bags, table, bag, members)
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(bags, table, members, ends, bag, 0)
