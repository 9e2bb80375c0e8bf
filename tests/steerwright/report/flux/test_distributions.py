"""Levels and histograms of scores."""

import numpy as np
import pytest

from steerwright.report.flux.content import score_histogram, score_levels

SCORES = np.array([[0.0, 1.0], [10.0, 0.0], [9.2, 0.0], [5.1, 0.0], [4.9, 0.0], [1.0, 0.0], [8.0, 0.0]])


def test_images_nearest_to_each_level_are_found_and_none_twice() -> None:
    levels = score_levels(SCORES, [7, 9], levels=(0.9, 0.5, 0.1), each=2)
    # Of latent 7 the targets are 9, 5 and 1; 9.2 is nearest to 9, then 10 and 8 are equally far. 8 is left out, and
    # does not stand for 1, though that level has room.
    found = levels.filter(latent=7).select("level", "image").rows()
    assert found == [(0.9, 1), (0.9, 2), (0.5, 3), (0.5, 4), (0.1, 5)]
    # Latent 9 is active in one image only, which is given once.
    assert levels.filter(latent=9).rows() == [(9, 0.9, 0, 1.0)]


def test_the_histogram_counts_every_image_in_which_a_latent_is_active() -> None:
    table = score_histogram(SCORES, [7, 9], bins=5)
    part = table.filter(latent=7)
    assert part["low"].to_list() == [0, 2, 4, 6, 8] and part["high"].to_list() == [2, 4, 6, 8, 10]
    # 1 | none | 4.9, 5.1 | none | 8, 9.2, 10: a bin holds its lower end, the last one both.
    assert part["images"].to_list() == [1, 0, 2, 0, 3]
    assert table.filter(latent=9)["images"].sum() == 1


def test_a_latent_that_is_never_active_has_no_rows() -> None:
    dead = np.zeros((4, 1))
    assert score_histogram(dead, [3]).height == 0 and score_levels(dead, [3]).height == 0


def test_scores_of_another_number_of_latents_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[images, 3\]"):
        score_histogram(SCORES, [1, 2, 3])
