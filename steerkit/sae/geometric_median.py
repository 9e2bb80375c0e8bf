"""The point with the least sum of distances to rows: a centre that a few huge rows do not pull away."""

import torch
from torch import Tensor

ROWS_AT_ONCE = 4096


def geometric_median(rows: Tensor, *, iterations: int = 100, tolerance: float = 1e-6) -> Tensor:
    """Geometric median [d] of `rows` [rows, d], by Weiszfeld's iteration from their mean; in the rows' dtype.

    Ends when a step is shorter than `tolerance` times the median's mean distance to the rows, or after `iterations`.
    Distances are held above a millionth of the mean distance, so that a guess upon a row does not divide by 0.
    """
    guess = rows.mean(0, dtype=torch.float64)
    for _ in range(iterations):
        total, weight = torch.zeros_like(guess), guess.new_zeros(())
        distances = torch.cat([_distances(piece, guess) for piece in rows.split(ROWS_AT_ONCE)])
        mean_distance = distances.mean()
        weights = 1 / distances.clamp(min=float(mean_distance) * 1e-6 or 1.0)
        for piece, piece_weights in zip(rows.split(ROWS_AT_ONCE), weights.split(ROWS_AT_ONCE), strict=True):
            total += (piece_weights.to(piece.dtype) @ piece).double()
            weight += piece_weights.sum()
        following = total / weight
        moved = torch.linalg.vector_norm(following - guess)
        guess = following
        if moved <= tolerance * mean_distance:
            break
    return guess.to(rows.dtype)


def _distances(rows: Tensor, point: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows - point.to(rows.dtype), dim=1).double()
