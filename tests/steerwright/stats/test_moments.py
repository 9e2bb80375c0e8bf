"""Running moments against the whole sample."""

import numpy as np
import torch

from steerwright.stats.moments import Moments


def test_two_rows_by_hand() -> None:
    moments = Moments(2)
    moments.update(torch.tensor([[1.0, 10.0]]))
    moments.update(torch.tensor([[3.0, 10.0]]))
    # mean (1 + 3) / 2 = 2; squares (1 - 2)^2 + (3 - 2)^2 = 2, over n - 1 = 1
    assert moments.mean.tolist() == [2.0, 10.0]
    assert moments.variance().tolist() == [2.0, 0.0]
    assert moments.variance(correction=0).tolist() == [1.0, 0.0]


def test_small_spread_around_a_large_mean_survives() -> None:
    # Sums of squares in float64 would lose this: 1e8 squared leaves no digits for 1e-2.
    rows = 1e8 + 0.01 * np.random.default_rng(0).standard_normal((1000, 3))
    moments = Moments(3)
    for part in np.array_split(rows, 7):
        moments.update(torch.from_numpy(part))
    np.testing.assert_allclose(moments.mean.numpy(), rows.mean(0), rtol=1e-15)
    np.testing.assert_allclose(moments.variance().numpy(), rows.var(0, ddof=1), rtol=1e-4)


def test_merged_parts_equal_the_whole_in_half_precision_input() -> None:
    rows = torch.randn(100, 4, generator=torch.Generator().manual_seed(0)).half()
    whole, left, right = Moments(4), Moments(4), Moments(4)
    whole.update(rows)
    left.update(rows[:30])
    right.update(rows[30:])
    left.merge(right)
    left.merge(Moments(4))
    torch.testing.assert_close(left.mean, rows.double().mean(0))
    torch.testing.assert_close(left.variance(), rows.double().var(0))
    torch.testing.assert_close(whole.variance(), left.variance())


def test_rows_that_are_not_finite_are_counted_and_left_out() -> None:
    moments = Moments(2)
    moments.update(torch.tensor([[1.0, 2.0], [torch.inf, 0.0], [torch.nan, 0.0], [3.0, 4.0]]))
    assert (moments.count, moments.dropped) == (2, 2)
    assert moments.mean.tolist() == [2.0, 3.0]


def test_no_variance_of_one_row() -> None:
    moments = Moments(1)
    moments.update(torch.ones(1, 1))
    assert moments.variance().isnan().all()
