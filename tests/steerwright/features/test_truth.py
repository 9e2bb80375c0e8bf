"""The pointing game on maps whose maximum, and masks whose place, are put there."""

import numpy as np
import pytest
from numpy.typing import NDArray

from steerwright.features.truth import best_region, cell_shares, pointing_game


def at(images: list[tuple[int, int]], h: int = 4, w: int = 6) -> NDArray[np.float32]:
    """Maps [images, h, w] that are 3 at one token each and 1 at the top left one."""
    maps = np.zeros((len(images), h, w), dtype=np.float32)
    maps[:, 0, 0] = 1
    for number, (row, column) in enumerate(images):
        maps[number, row, column] = 3
    return maps


def test_a_maximum_inside_the_mask_is_a_hit() -> None:
    masks = np.zeros((4, 32, 48), dtype=bool)
    masks[:, 16:24, 8:24] = True  # row 2, columns 1 and 2 of cells of 8 x 8 pixels
    found = pointing_game(at([(2, 1), (2, 2), (2, 3), (1, 1)]), masks)
    assert found.images == 4 and found.hits == 0.5
    assert found.base_rate == pytest.approx(2 / 24) and found.base_energy == pytest.approx(2 / 24)
    assert found.energy == pytest.approx(0.5 * 3 / 4)


def test_a_token_is_inside_where_half_of_its_cell_is() -> None:
    for covered, hits in [(3, 0), (4, 1), (8, 1)]:
        masks = np.zeros((1, 32, 48), dtype=bool)
        masks[:, 16 : 16 + covered, 8:16] = True
        masks[:, 0:8, 40:48] = True  # so that some token is inside in any case
        found = pointing_game(at([(2, 1)]), masks)
        assert found.hits == hits
        assert found.energy == pytest.approx(3 / 4 * covered / 8)


def test_random_maps_hit_as_often_as_the_base_rate_says() -> None:
    random = np.random.default_rng(0)
    masks = np.zeros((3000, 30, 20), dtype=bool)
    masks[:, 5:20, 4:16] = True
    found = pointing_game(random.random((3000, 6, 5)), masks)
    assert found.hits == pytest.approx(found.base_rate, abs=3 * np.sqrt(0.25 / 3000))
    assert found.energy == pytest.approx(found.base_energy, abs=0.01)
    assert found.base_energy == pytest.approx(15 * 12 / 600)


def test_equally_large_tokens_share_the_hit() -> None:
    maps = np.zeros((1, 4, 6))
    maps[0, 2, 1:5] = 2
    masks = np.zeros((1, 32, 48), dtype=bool)
    masks[:, 16:24, 8:16] = True
    assert pointing_game(maps, masks).hits == 0.25


def test_images_where_nothing_can_be_missed_or_nothing_is_active_are_left_out() -> None:
    masks = np.zeros((4, 32, 48), dtype=bool)
    masks[0] = True
    masks[2:, 16:24, 8:16] = True
    maps = at([(2, 1)] * 4)
    maps[3] = -1  # negative activations are none
    found = pointing_game(maps, masks)
    assert found.images == 1 and found.hits == 1
    nothing = pointing_game(maps[:2], masks[:2])
    assert nothing.images == 0 and np.isnan(nothing.hits) and np.isnan(nothing.base_rate)


def test_the_region_is_where_hits_exceed_the_base_rate() -> None:
    masks = np.zeros((2, 32, 48), dtype=bool)
    masks[:, 16:24, 8:24] = True
    region, found = best_region(at([(2, 1), (2, 2)]), masks) or ("", None)
    assert region == "object" and found is not None and found.hits == 1
    region, found = best_region(at([(1, 1), (3, 5)]), masks) or ("", None)
    assert region == "background" and found is not None and found.base_rate == pytest.approx(22 / 24)
    assert best_region(at([(1, 1)]), np.ones((1, 32, 48), dtype=bool)) is None


@pytest.mark.parametrize("grid", [(4, 6), (5, 7), (16, 16), (64, 96), (1, 1)])
def test_cells_are_covered_by_area_on_any_grid(grid: tuple[int, int]) -> None:
    masks = np.random.default_rng(1).random((3, 32, 48)) < 0.3
    # The independent route: every pixel in h x w parts, every cell in H x W parts.
    fine = masks.repeat(grid[0], axis=1).repeat(grid[1], axis=2)
    expected = fine.reshape(3, grid[0], 32, grid[1], 48).mean((2, 4))
    np.testing.assert_allclose(cell_shares(masks, grid), expected, atol=1e-12)


def test_maps_and_masks_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="not of the same images"):
        pointing_game(np.zeros((2, 4, 4)), np.zeros((3, 8, 8), dtype=bool))
