"""One-to-one pairs of the most similar vectors of two sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

EXACTLY = 4096
"""Up to so many vectors the assignment with the largest sum is found; of more, the most similar pairs first."""
# Similarities that are held at once: 64 MiB of float32; and how many of each vector are kept where not all can be.
_BLOCK, _KEPT = 2**24, 32


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """`first` and `second` int64 [pairs]: rows of the two sides, each at most once; `similarity` float64 [pairs]."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    similarity: NDArray[np.float64]


def assign(first: Tensor, second: Tensor, *, exactly: int = EXACTLY) -> Pairs:
    """One-to-one pairs of unit rows [n, r] and [m, r] by inner product; no more pairs than the shorter side has rows.

    With at most `exactly` rows on each side the pairs with the largest sum (linear assignment); else the most similar
    pairs first, among each row's 32 most similar ones, so that some rows may be left without a partner.
    """
    if not len(first) or not len(second):
        none = np.zeros(0, dtype=np.int64)
        return Pairs(none, none, np.zeros(0))
    if max(len(first), len(second)) <= exactly:
        from scipy.optimize import linear_sum_assignment

        similarity = (first.double() @ second.double().T).numpy()
        here, there = linear_sum_assignment(similarity, maximize=True)
        return Pairs(here, there, similarity[here, there])
    here, there, similar = (np.concatenate(part) for part in zip(*_nearest(first, second), strict=True))
    back = [np.concatenate(part) for part in zip(*_nearest(second, first), strict=True)]
    return _greedy(np.append(here, back[1]), np.append(there, back[0]), np.append(similar, back[2]))


def _nearest(first: Tensor, second: Tensor) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Of each row of `first` its most similar rows of `second`, as pairs and their similarity, block by block."""
    found = []
    at_once = max(1, _BLOCK // len(second))
    for start in range(0, len(first), at_once):
        values, places = (first[start : start + at_once] @ second.T).topk(min(_KEPT, len(second)), dim=1)
        rows = np.repeat(np.arange(start, start + len(values)), values.shape[1])
        found.append((rows, places.flatten().numpy(), values.flatten().numpy()))
    return found


def _greedy(here: NDArray[np.int64], there: NDArray[np.int64], similar: NDArray[np.floating]) -> Pairs:
    """The most similar pairs first, each row once; of equal ones the lower numbers."""
    order = np.lexsort((there, here, -similar))
    here, there, similar = here[order], there[order], similar[order]
    taken: list[int] = []
    used_here, used_there = np.zeros(here.max() + 1, dtype=bool), np.zeros(there.max() + 1, dtype=bool)
    left = np.arange(len(here))
    while len(left):
        # Best of its own row on both sides among what is left: no better pair can take either of them.
        first_here = np.zeros(len(left), dtype=bool)
        first_there = np.zeros(len(left), dtype=bool)
        first_here[np.unique(here[left], return_index=True)[1]] = True
        first_there[np.unique(there[left], return_index=True)[1]] = True
        mutual = left[first_here & first_there]
        used_here[here[mutual]] = used_there[there[mutual]] = True
        taken += mutual.tolist()
        left = left[~(used_here[here[left]] | used_there[there[left]])]
    kept = np.sort(np.array(taken, dtype=np.int64))
    return Pairs(here[kept], there[kept], similar[kept].astype(np.float64))
