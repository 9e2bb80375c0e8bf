"""Directions on a plane, so that similar ones lie near each other: principal components, then t-SNE.

Nothing is random: the map starts from the two first principal components, so equal directions give an equal map.
Sources: van der Maaten and Hinton, JMLR 9, 2008; start and rate as in Kobak and Berens, Nat. Commun. 10, 2019.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PERPLEXITY = 30.0
_EXAGGERATED, _ROUNDS = 150, 500
_BISECTIONS = 40
# Of how many placed directions one that is not placed itself takes the mean place.
_NEAREST = 3


def direction_map(directions: Tensor, *, exactly: int = 2000) -> NDArray[np.float64]:
    """Places [m, 2] of `directions` [m, d], by cosine.

    Up to `exactly` directions all of them are placed by t-SNE (time and memory grow with the square). Of more, as many,
    evenly spread over the list, are; each other one takes the mean place of the three most similar of those, weighted
    by their cosines.
    """
    unit = torch.nn.functional.normalize(directions.detach().cpu().double(), dim=1)
    if len(unit) <= exactly:
        every: NDArray[np.float64] = _place(unit).numpy()
        return every
    chosen = torch.linspace(0, len(unit) - 1, exactly).round().long()
    placed = _place(unit[chosen])
    out = torch.empty(len(unit), 2, dtype=torch.float64)
    for start in range(0, len(unit), 4096):
        cosine, nearest = (unit[start : start + 4096] @ unit[chosen].T).topk(_NEAREST, dim=1)
        weight = cosine.clamp(min=1e-6)
        out[start : start + 4096] = (placed[nearest] * weight.unsqueeze(2)).sum(1) / weight.sum(1, keepdim=True)
    out[chosen] = placed
    places: NDArray[np.float64] = out.numpy()
    return places


def _place(unit: Tensor) -> Tensor:
    count = len(unit)
    if count < 5:
        return _components(unit)
    near = _affinities(unit).float()
    at = _components(unit).float()
    at = at / at[:, 0].std().clamp(min=1e-12) * 1e-4
    rate, gains, move = max(count / 12 / 4, 50.0), torch.ones_like(at), torch.zeros_like(at)
    for number in range(_ROUNDS):
        early = number < _EXAGGERATED
        square = at.square().sum(1)
        # 1 / (1 + distance^2), in place: this loop is all passes over [m, m].
        inverse = torch.addmm(square + 1, at, at.T, alpha=-2).add_(square.unsqueeze(1)).clamp_(min=1).reciprocal_()
        inverse.fill_diagonal_(0)
        force = torch.sub(near * 12.0 if early else near, inverse, alpha=float(1 / inverse.sum())).mul_(inverse)
        gradient = 4 * (force.sum(1, keepdim=True) * at - force @ at)
        # Steps grow where they keep their direction, and shrink where they swing.
        gains = torch.where(gradient * move < 0, gains + 0.2, gains * 0.8).clamp(min=0.01)
        move = (0.5 if early else 0.8) * move - rate * gains * gradient
        at = at + move
    return (at - at.mean(0)).double()


def _affinities(unit: Tensor) -> Tensor:
    """How near each pair is, [m, m], symmetric with sum 1: each direction's neighbourhood has the same perplexity."""
    count = len(unit)
    distance = (2 - 2 * unit @ unit.T).clamp(min=0)
    distance.fill_diagonal_(torch.inf)
    target = math.log(min(PERPLEXITY, (count - 1) / 3))
    low, high = torch.zeros(count, 1).double(), torch.full((count, 1), torch.inf).double()
    sharp = torch.ones(count, 1).double()
    for _ in range(_BISECTIONS):
        share = (-sharp * distance).softmax(1)
        entropy = -torch.special.xlogy(share, share).sum(1, keepdim=True)
        wide = entropy > target
        low, high = torch.where(wide, sharp, low), torch.where(wide, high, sharp)
        sharp = torch.where(high.isinf(), sharp * 2, (low + high) / 2)
    share = (-sharp * distance).softmax(1)
    return ((share + share.T) / (2 * count)).clamp(min=1e-12)


def _components(unit: Tensor) -> Tensor:
    """Scores [m, 2] on the two first principal components; of each component the largest score is positive."""
    out = torch.zeros(len(unit), 2, dtype=torch.float64)
    if len(unit) < 2:
        return out
    centred = unit - unit.mean(0)
    if len(unit) <= unit.shape[1]:
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        scores = vectors[:, -2:].flip(1) * values[-2:].flip(0).clamp(min=0).sqrt()
    else:
        _, vectors = torch.linalg.eigh(centred.T @ centred)
        scores = centred @ vectors[:, -2:].flip(1)
    largest = scores.abs().argmax(0)
    sign = torch.where(scores[largest, torch.arange(scores.shape[1])] < 0, -1.0, 1.0)
    out[:, : scores.shape[1]] = scores * sign
    return out
