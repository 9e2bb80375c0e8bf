"""What lies around tokens of a grid: the mean of the nearest tokens that are not flagged."""

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from steerkit.errors import UserError


def neighbours_mean(acts: Tensor, flagged: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
    """For each flagged token of `acts` [images, tokens, d] the mean of the nearest ring of tokens around it.

    A flagged token that touches unflagged ones (up to eight) takes their mean; then it counts as filled, and the ring
    within is filled from it, until none is left. An image that is flagged everywhere, and tokens that are not flagged
    [images, tokens], stay. `grid` is [h, w]; None for a square. UserError when the tokens do not form it.
    """
    images, tokens, width = acts.shape
    h, w = grid or (math.isqrt(tokens), math.isqrt(tokens))
    if h * w != tokens:
        raise UserError(f"{tokens} tokens do not form a grid of {h} x {w}; give the grid of this resolution.")
    out, known = acts.clone(), ~flagged
    ring = acts.new_ones(1, 1, 3, 3)
    while True:
        maps = (out * known[..., None]).transpose(1, 2).reshape(images * width, 1, h, w)
        sums = conv2d(maps, ring, padding=1).view(images, width, tokens).transpose(1, 2)
        counts = conv2d(known.to(acts).view(images, 1, h, w), ring, padding=1).view(images, tokens)
        reached = ~known & (counts > 0)
        if not reached.any():
            return out
        out = torch.where(reached[..., None], sums / counts.clamp(min=1)[..., None], out)
        known = known | reached
