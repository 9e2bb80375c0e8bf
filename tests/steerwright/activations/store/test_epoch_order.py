"""The order of an epoch, as numbers alone: windows that fit, stretches that stay whole, everything from a seed."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from steerwright.activations.store.shuffle import STRETCH_BYTES, STRETCHES_PER_WINDOW, EpochOrder, epoch_order


def rows_of(order: EpochOrder, window: int) -> list[int]:
    return [row for start, stop in order.stretches(window) for row in range(start, stop)]


files = st.lists(st.integers(1, 90), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(sizes=files, window_rows=st.integers(1, 500), seed=st.integers(0, 2**62), epoch=st.integers(0, 50))
def test_windows_fit_and_hold_every_row_once(sizes: list[int], window_rows: int, seed: int, epoch: int) -> None:
    starts = np.concatenate([[0], np.cumsum(sizes)])
    order = epoch_order(starts, window_rows, 100, seed, epoch)
    windows = [rows_of(order, window) for window in range(order.windows)]
    assert all(0 < len(window) <= window_rows for window in windows)
    assert [order.rows(window) for window in range(order.windows)] == [len(window) for window in windows]
    assert sorted(row for window in windows for row in window) == list(range(sum(sizes)))
    for window in range(order.windows):
        assert sorted(order.permutation(window)) == list(range(order.rows(window)))


@settings(deadline=None, max_examples=60)
@given(sizes=files, window_rows=st.integers(1, 500))
def test_stretches_lie_in_one_file_and_are_short_enough_to_mix(sizes: list[int], window_rows: int) -> None:
    starts = np.concatenate([[0], np.cumsum(sizes)])
    order = epoch_order(starts, window_rows, 100, 0, 0)
    file_of = np.searchsorted(starts, np.arange(sum(sizes)), side="right")
    for window in range(order.windows):
        for start, stop in order.stretches(window):
            assert stop - start <= max(1, window_rows // STRETCHES_PER_WINDOW)
            assert len(set(file_of[start:stop].tolist())) == 1


def test_a_stretch_is_no_longer_than_reading_at_full_speed_needs() -> None:
    order = epoch_order(np.array([0, 10**6]), 10**6, 10_000, 0, 0)
    longest = max(stop - start for start, stop in order.stretches(0))
    assert STRETCH_BYTES // 2 < longest * 10_000 <= STRETCH_BYTES


def test_windows_are_about_equal() -> None:
    order = epoch_order(np.array([0, 4000, 10_000]), 1600, 100, 0, 0)
    sizes = [order.rows(window) for window in range(order.windows)]
    assert len(sizes) == 7  # six of 1600 would hold 9600
    assert max(sizes) - min(sizes) <= 2 * 1600 // STRETCHES_PER_WINDOW


def test_neighbouring_windows_epochs_and_seeds_differ() -> None:
    starts = np.array([0, 1000])
    orders = [epoch_order(starts, 300, 100, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    firsts = [tuple(order.starts.tolist()) for order in orders]
    assert len(set(firsts)) == 3
    assert orders[0].permutation(0).tolist()[:50] != orders[0].permutation(1).tolist()[:50]
