"""Overlays: clipped where it is said, lit where the token is, on grids of any shape."""

import numpy as np
import pytest
import torch

from steerwright.report.html.overlays import DIM, OPACITY, SCALE, heat_limit, overlay, upsample


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)], dtype=np.float64)


def test_one_hot_token_does_not_set_the_limit() -> None:
    # 200 tokens of 1 and one of 1000: a percentile that max() undid would give 1000.
    values = np.ones((3, 67))
    values[0, 0] = 1000.0
    assert heat_limit([values], 99) == 1.0
    assert heat_limit([values], 100) == 1000.0


def test_only_positive_values_count_for_the_limit() -> None:
    # 1..100 among ten thousand zeros: the median of what is positive is 50.5, that of everything would be 0.
    values = np.concatenate([np.zeros(10_000), np.arange(1, 101)]).reshape(100, 101)
    assert heat_limit([values], 50) == 50.5


def test_maps_of_a_latent_share_one_limit_whatever_their_shapes() -> None:
    maps = [np.full((2, 3), 1.0), np.full((4, 1), 3.0)]
    # Six ones and four threes in order: the percentile of rank 5.4 of 0..9 lies 0.4 of the way from 1 to 3.
    assert heat_limit(maps, 60) == pytest.approx(1.8)


def test_nothing_active_gives_no_limit_and_no_heat() -> None:
    assert heat_limit([np.zeros((4, 4))]) == 0.0 == heat_limit([])
    pixels = noise(8, 8)
    assert np.array_equal(overlay(pixels, np.zeros((4, 4)), 0.0, ground="colour"), pixels)


@pytest.mark.parametrize("percentile", [0.0, -1.0, 100.5])
def test_a_percentile_that_is_none_is_refused(percentile: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        heat_limit([np.ones((2, 2))], percentile)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_map_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        heat_limit([np.array([[1.0, value]])])


@pytest.mark.parametrize(("height", "width"), [(12, 20), (13, 17), (3, 5), (2, 3)])
@pytest.mark.parametrize("smooth", [False, True])
def test_upsampling_equals_that_of_torch(height: int, width: int, smooth: bool) -> None:
    values = np.random.default_rng(1).random((3, 5))
    source = torch.from_numpy(values)[None, None]
    mode = {"mode": "bilinear", "align_corners": False} if smooth else {"mode": "nearest-exact"}
    expected = torch.nn.functional.interpolate(source, (height, width), **mode)[0, 0].numpy()
    np.testing.assert_allclose(upsample(values, height, width, smooth), expected, atol=1e-12)


def test_one_active_token_lights_its_patch_and_nothing_else_on_a_grid_that_is_not_square() -> None:
    pixels = noise(32, 96)
    values = np.zeros((2, 6))
    values[1, 4] = 0.5
    out = overlay(pixels, values, 0.5, ground="colour")
    patch = np.zeros((32, 96), dtype=bool)
    patch[16:32, 64:80] = True
    assert np.array_equal(out[~patch], pixels[~patch])
    hot = (pixels[patch] * (1 - OPACITY) + rgb(SCALE[-1]) * OPACITY).round().astype(np.uint8)
    assert np.array_equal(out[patch], hot)


def test_values_above_the_limit_are_as_hot_as_it_and_below_it_heat_rises() -> None:
    pixels = np.full((4, 40, 3), 90, dtype=np.uint8)
    values = np.linspace(0, 9, 10)[None]
    out = overlay(pixels, values, 5.0)[0, ::4].astype(int)
    assert np.array_equal(out[5], out[9])
    assert (np.diff(out[:6, 0]) >= 0).all() and out[0, 0] < out[2, 0] < out[5, 0]


def test_a_grey_ground_has_no_colour_where_nothing_is_active() -> None:
    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    pixels[..., 0] = 200
    out = overlay(pixels, np.zeros((1, 1)), 1.0)
    assert np.array_equal(out, np.full((2, 2, 3), round(200 * 0.299 * DIM), dtype=np.uint8))


def test_heat_without_smoothing_keeps_the_edges_of_tokens_and_with_it_does_not() -> None:
    pixels = np.full((8, 32, 3), 128, dtype=np.uint8)
    values = np.array([[0.0, 1.0, 0.0, 0.0]])
    sharp, soft = (overlay(pixels, values, 1.0, smooth, "colour") for smooth in (False, True))
    assert len(np.unique(sharp[0], axis=0)) == 2
    assert len(np.unique(soft[0], axis=0)) > 4


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2), (0, 3)])
def test_a_map_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[h, w\]"):
        overlay(noise(4, 4), np.zeros(shape), 1.0)
