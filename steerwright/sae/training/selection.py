"""Which latents of a batch are used in a training step."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from steerwright.sae.products import above, largest

FLOOR = 0.9
"""Of the first piece's own choice: below it nothing of the batch's largest is looked for at first."""


@dataclass(frozen=True, slots=True, eq=False)
class PreActivations:
    """Pre-activations of a batch of `rows` rows, made a piece of rows at a time: the whole is never in memory."""

    rows: int
    piece_rows: int
    """At most so many."""
    make: Callable[[int, int], Tensor]
    """From one row up to another: their pre-activations [rows, n]."""

    def pieces(self) -> list[tuple[int, int]]:
        """First and last + 1 row of each piece, of nearly equal size: a piece of few rows is slow for its size."""
        count = -(-self.rows // self.piece_rows)
        ends = [self.rows * i // count for i in range(count + 1)]
        return list(pairwise(ends))


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Chosen latents of a batch, row by row; `row` and `latent` are int64 [entries], `pre` their pre-activations."""

    row: Tensor
    latent: Tensor
    pre: Tensor


def largest_of_rows(pre: PreActivations, k: int) -> Selection:
    """The k largest of every row."""
    found = [largest(pre.make(start, stop), k) for start, stop in pre.pieces()]
    latents = torch.cat([indices for _, indices in found]).flatten()
    row = torch.arange(pre.rows, device=latents.device).repeat_interleave(k)
    return Selection(row, latents, torch.cat([values for values, _ in found]).flatten().float())


def largest_of_batch(pre: PreActivations, k: int) -> Selection:
    """The k * rows largest positive ones of the whole batch, fewer if there are fewer. Source: arXiv:2412.06410.

    Exact. On a CPU every piece gives what is above a floor, taken from the first piece; should that turn out too high,
    everything is done again with a lower one. On CUDA that would wait for the device: the batch is one piece there.
    """
    first = pre.make(*pre.pieces()[0])
    if len(first) == pre.rows:
        return _of_one_piece(first, k * pre.rows)
    least = float(largest(first.reshape(1, -1), k * len(first))[0][0, -1])
    floor = max(FLOOR * least, 0.0)
    while True:
        found = _all_above(pre, first, floor)
        if floor == 0 or len(found.row) >= k * pre.rows:
            break
        floor = floor / 2 if floor > least / 16 else 0.0
    if len(found.row) <= k * pre.rows:
        return found
    kept = found.pre.topk(k * pre.rows, sorted=False).indices.sort().values
    return Selection(found.row[kept], found.latent[kept], found.pre[kept])


def all_above(pre: PreActivations, floor: Tensor | float) -> Selection:
    """Every one above `floor`, a number or one for each latent [n]."""
    return _all_above(pre, None, floor)


def _all_above(pre: PreActivations, first: Tensor | None, floor: Tensor | float) -> Selection:
    parts = []
    for start, stop in pre.pieces():
        piece = first if start == 0 and first is not None else pre.make(start, stop)
        row, index = above(piece, floor)
        parts.append((row + start, index, piece.flatten()[row * piece.shape[1] + index].float()))
    row, latent, values = (torch.cat(column) for column in zip(*parts, strict=True))
    return Selection(row, latent, values)


def _of_one_piece(piece: Tensor, count: int) -> Selection:
    """Of a fixed number of entries; where fewer are positive, the rest have a pre-activation of at most 0."""
    values, flat = largest(piece.reshape(1, -1), count)
    flat, order = flat[0].sort()
    return Selection(flat // piece.shape[1], flat % piece.shape[1], values[0][order].float())
