import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerwright.lab.charts.style import ChartScale, number, ticks


def test_ticks_are_round_numbers_around_the_values() -> None:
    assert ticks(0.0, 1.0) == [0.0, 0.5, 1.0]
    assert ticks(0.0, 0.83) == [0.0, 0.5, 1.0]
    assert ticks(-3.0, 12.0) == [-5.0, 0.0, 5.0, 10.0, 15.0]


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(2, 9))
def test_ticks_hold_every_value_and_are_evenly_spaced(first: float, second: float, wanted: int) -> None:
    low, high = sorted((first, second))
    if 0 < high - low < 1e-6 * max(abs(low), abs(high)):
        return
    found = ticks(low, high, wanted)
    assert found[0] <= low + 1e-6 * (high - low or 1)
    assert found[-1] >= high - 1e-6 * (high - low or 1)
    gaps = [after - before for before, after in itertools.pairwise(found)]
    assert all(math.isclose(gap, gaps[0], rel_tol=1e-6) for gap in gaps)
    assert 2 <= len(found) <= 2 * wanted + 2


def test_ticks_of_nothing_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="No ticks"):
        ticks(0.0, math.inf)


def test_a_scale_that_runs_backwards_puts_the_larger_value_higher() -> None:
    up = ChartScale(0.0, 10.0, 200.0, 0.0)
    assert (up(0.0), up(5.0), up(10.0)) == (200.0, 100.0, 0.0)


def test_numbers_have_a_true_minus_and_a_dash_for_what_is_not_defined() -> None:
    assert number(-0.5) == "\u22120.5"
    assert number(math.nan) == "\u2013"
