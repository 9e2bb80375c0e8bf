"""Products with sparse latents that never build the dense [rows, n] matrix: O(k d) for a row, not O(n d).

A *bag* is what is summed up: a row's active latents to decode it, a latent's rows to get its gradient. On CUDA Triton
kernels do the same (steerwright/sae/triton_product.py).
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from steerwright.sae import triton_product


def weighted_rows(
    indices: Int64[Tensor, "rows places"], weights: Float[Tensor, "rows places"], table: Float[Tensor, "n d"]
) -> Float[Tensor, "rows d"]:
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


# The largest pre-activations, exactly, in two stages.
#
# A row is laid out in groups; every group's maximum is taken; the k groups with the largest maxima hold all of the
# row's k largest (whatever lies outside them is at most its own group's maximum, and that is at most k others). So only
# k groups are searched: one pass of maxima over n numbers, and two small selections.

GROUP = 8
"""Members of a group. They lie n / GROUP apart, so that the pass of maxima runs along contiguous memory. Of 4, 8, 16,
32 and 64 this was the fastest on a CPU for each of (n, k) = (2048, 16), (8192, 16), (20480, 32) and (49152, 64)."""


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Values and int64 indices [rows, k] of the k largest of each row of `values` [rows, n], largest first.

    Exact: as torch.topk, save that of equal values others may be chosen. k is at most n.
    """
    rows, size = values.shape
    groups = size // GROUP
    if groups < 4 * k:
        found = values.topk(k, dim=1)
        return found.values, found.indices
    chosen = _maxima(values, groups).topk(k, dim=1, sorted=False).indices
    candidates = (chosen.unsqueeze(2) + _members(values, groups)).flatten(1)
    rest = _rest(values, groups)
    if len(rest):
        candidates = torch.cat([candidates, rest.expand(rows, -1)], 1)
    found, places = values.gather(1, candidates).topk(k, dim=1)
    return found, candidates.gather(1, places)


def above(values: Tensor, floor: Tensor | float) -> tuple[Tensor, Tensor]:
    """Rows and indices, int64 [found] each and in order of rows, of all of `values` [rows, n] above `floor`.

    `floor` is one number or one for each column [n]. Looks only into groups whose maximum is above it.
    """
    groups = values.shape[1] // GROUP
    if isinstance(floor, Tensor) and floor.dim() == 1:
        values = values - floor
        floor = 0.0
    if groups < 8:
        row, index = (values > floor).nonzero(as_tuple=True)
        return row, index
    row, group = (_maxima(values, groups) > floor).nonzero(as_tuple=True)
    index = (group.unsqueeze(1) + _members(values, groups)).flatten()
    row = row.repeat_interleave(GROUP)
    kept = (values.flatten()[row * values.shape[1] + index] > floor).nonzero().squeeze(1)
    row, index = row[kept], index[kept]
    rest = _rest(values, groups)
    if len(rest):
        row_rest, index_rest = (values[:, rest] > floor).nonzero(as_tuple=True)
        row, order = torch.cat([row, row_rest]).sort(stable=True)
        index = torch.cat([index, rest[index_rest]])[order]
    return row, index


def _maxima(values: Tensor, groups: int) -> Tensor:
    return values[:, : groups * GROUP].unflatten(1, (GROUP, groups)).amax(1)


def _members(values: Tensor, groups: int) -> Tensor:
    return torch.arange(GROUP, device=values.device) * groups


def _rest(values: Tensor, groups: int) -> Tensor:
    return torch.arange(groups * GROUP, values.shape[1], device=values.device)
