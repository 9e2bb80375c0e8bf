"""The largest pre-activations, exactly, in two stages.

A row is laid out in groups; every group's maximum is taken; the k groups with the largest maxima hold all of the row's
k largest (whatever lies outside them is at most its own group's maximum, and that is at most k others). So only k
groups are searched: one pass of maxima over n numbers, and two small selections.
"""

import torch
from torch import Tensor

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
