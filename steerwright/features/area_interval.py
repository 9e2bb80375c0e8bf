"""How sure an area under the ROC curve is."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Half the interval's width at the first bisection is 1/2; after these it is below 1e-15.
_BISECTIONS = 50


def area_interval(
    area: ArrayLike, positives: ArrayLike, negatives: ArrayLike, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score interval of areas (any one shape) from so many positive and negative cases: low and high.

    The values t for which |t - area| <= z sd(t), with Hanley and McNeil's variance (Radiology 143, 1982) in the form of
    Newcombe's method 5 (Stat. Med. 25, 2006): t (1 - t) (1 + N ((1 - t) / (2 - t) + t / (1 + t))) / (m n), with
    N = (m + n) / 2 - 1. Unlike Wald's it has a width at an area of 1. NaN where the area or a count is none.
    """
    from statistics import NormalDist

    a, m, n = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in (area, positives, negatives)))
    z = NormalDist().inv_cdf((1 + level) / 2)
    known = np.isfinite(a) & (m > 0) & (n > 0)
    m, n = np.where(known, m, 1), np.where(known, n, 1)

    def within(t: NDArray[np.float64]) -> NDArray[np.bool_]:
        pairs = (m + n) / 2 - 1
        variance = t * (1 - t) * (1 + pairs * ((1 - t) / (2 - t) + t / (1 + t))) / (m * n)
        inside: NDArray[np.bool_] = (t - a) ** 2 <= z * z * variance
        return inside

    ends = []
    for bound in (0.0, 1.0):
        inside, outside = np.where(known, a, 0.5), np.full_like(a, bound)
        for _ in range(_BISECTIONS):
            middle = (inside + outside) / 2
            here = within(middle)
            inside, outside = np.where(here, middle, inside), np.where(here, outside, middle)
        ends.append(np.where(known, (inside + outside) / 2, np.nan))
    return ends[0], ends[1]
