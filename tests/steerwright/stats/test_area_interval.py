"""Intervals of areas: their ends by the definition, and how often they cover."""

import numpy as np
import pytest

from steerwright.stats.ranks import area_interval


@pytest.mark.parametrize(("area", "m", "n"), [(0.8, 20, 40), (0.5, 10, 10), (0.97, 15, 200), (0.02, 30, 9)])
def test_the_ends_are_where_the_score_is_the_quantile(area: float, m: int, n: int) -> None:
    pairs = (m + n) / 2 - 1
    for end in area_interval(area, m, n):
        variance = end * (1 - end) * (1 + pairs * ((1 - end) / (2 - end) + end / (1 + end))) / (m * n)
        assert abs(end - area) / np.sqrt(variance) == pytest.approx(1.959964, rel=1e-6)


def test_it_has_a_width_at_both_ends_and_narrows_with_cases() -> None:
    low, high = area_interval([1.0, 1.0, 0.0], [8, 80, 8], [20, 200, 20])
    assert high[:2].tolist() == [1.0, 1.0] and low[2] == 0
    assert low[0] < low[1] < 1 and high[2] == pytest.approx(1 - low[0])


def test_nothing_is_said_without_cases() -> None:
    low, high = area_interval([np.nan, 0.7, 0.7], [5, 0, 5], [5, 5, 0])
    assert np.isnan(low).all() and np.isnan(high).all()


def test_it_covers_the_true_area_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    positives, negatives = random.normal(1.5, 1, (2000, 12)), random.normal(0, 1, (2000, 30))
    areas = (positives[:, :, None] > negatives[:, None, :]).mean((1, 2))
    # Two normals 1.5 apart: the area is Phi(1.5 / sqrt 2).
    low, high = area_interval(areas, 12, 30)
    covered = ((low <= 0.855577) & (high >= 0.855577)).mean()
    assert 0.93 < covered < 0.98
