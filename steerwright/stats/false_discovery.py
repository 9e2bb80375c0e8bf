"""Control of the false discovery rate."""

import numpy as np
from numpy.typing import NDArray


def q_values(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest rate of false discoveries at which each test of a family counts as a discovery; shape of `p_values`.

    All elements together are the family. Source: Benjamini and Hochberg, J. R. Stat. Soc. B 57, 1995.
    """
    flat = p_values.reshape(-1)
    order = np.argsort(flat)
    scaled = flat[order] * len(flat) / np.arange(1, len(flat) + 1)
    q = np.empty_like(flat)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return q.reshape(p_values.shape)
