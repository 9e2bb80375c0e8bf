"""Random orders of prompts, for what would be found if images and what is known of them did not belong together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

# Draws for each order that is asked for, after which there seem to be no more.
_PATIENCE = 100


def prompt_codes(prompts: Sequence[Hashable]) -> tuple[NDArray[np.int64], int]:
    """Prompts numbered in the order of their first image, int64 [images], and how many there are."""
    index: dict[Hashable, int] = {}
    codes = np.array([index.setdefault(prompt, len(index)) for prompt in prompts], dtype=np.int64)
    return codes, len(index)


def prompt_shuffles(
    prompts: int, shuffles: int, seed: int, seen: Callable[[NDArray[np.int64]], bytes] = lambda ranks: ranks.tobytes()
) -> list[NDArray[np.int64]]:
    """Up to `shuffles` random permutations int64 [prompts], no two alike and none like what is there already.

    `seen`: what an order changes, as bytes; orders for which it is the same are alike, as two prompts with the same
    labels may change places. With few prompts there may be fewer than `shuffles`, or none.
    """
    known, kept = {seen(np.arange(prompts))}, list[NDArray[np.int64]]()
    for draw in range(shuffles * _PATIENCE):
        if len(kept) == shuffles:
            break
        ranks = np.random.default_rng((seed, draw)).permutation(prompts)
        if (content := seen(ranks)) not in known:
            known.add(content)
            kept.append(ranks)
    return kept
