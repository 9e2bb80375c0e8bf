"""The published formula on given distances, and demo candidates between percentiles of the active images."""

import logging

import numpy as np
import pytest

from steerwright.errors import UserError
from steerwright.features.demos import demo_candidates, responsiveness


def test_the_score_is_the_published_formula() -> None:
    # (0.4 + 0.2) / 2 = 0.3, times 1/2 + 1/2 * 0.2 / 0.4 = 3/4.
    assert responsiveness(0.4, 0.2) == pytest.approx(0.225)
    assert responsiveness(0.3, 0.3) == pytest.approx(0.3)  # both sides alike
    assert responsiveness(0.3, 0.0) == pytest.approx(0.075)  # one side alone: half of the mean
    assert responsiveness(0.0, 0.0) == 0
    np.testing.assert_allclose(responsiveness([0.4, 0.2, 0.0], [0.2, 0.4, 0.0]), [0.225, 0.225, 0])


def test_distances_are_neither_negative_nor_missing() -> None:
    for plus, minus in [(-0.1, 0.2), (0.1, np.nan), (np.inf, 1)]:
        with pytest.raises(ValueError, match="negative or not finite"):
            responsiveness(plus, minus)


def test_candidates_lie_between_percentiles_of_the_active_images() -> None:
    # 101 active images with scores 1 to 101, among as many silent ones: percentile p is the score 1 + p.
    scores = np.zeros(202, dtype=np.float32)
    active = np.random.default_rng(0).permutation(202)[:101]
    scores[active] = np.arange(1, 102)
    found = demo_candidates(scores, 7, count=100)
    assert (found.low, found.high) == (71, 96)
    assert found.table["score"].to_list() == list(range(96, 70, -1))
    assert found.in_band == 26 and found.short == 74
    assert (scores[found.table["image"]] == found.table["score"].to_numpy()).all()
    assert found.table["latent"].to_list() == [7] * 26


def test_fewer_than_were_asked_for_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = demo_candidates(np.arange(1, 11), 3, low=0, high=50, count=6)
    assert found.short == 1 and "latent 3: 5 demo candidates, not 6" in caplog.text
    caplog.clear()
    assert demo_candidates(np.arange(1, 11), 3, low=0, high=100, count=6).short == 0 and not caplog.text


def test_the_choice_is_random_by_seed_and_the_same_for_a_seed() -> None:
    scores = np.random.default_rng(0).random(1000)
    first = demo_candidates(scores, 3, count=10).table
    assert first.equals(demo_candidates(scores, 3, count=10).table)
    others = [demo_candidates(scores, 3, count=10, seed=1), demo_candidates(scores, 4, count=10)]
    assert all(set(other.table["image"]) != set(first["image"]) for other in others)
    # The choice is fair: over seeds, the mean place in the band is its middle.
    means = [float(demo_candidates(scores, 3, count=10, seed=s).table["score"].to_numpy().mean()) for s in range(200)]
    band = scores[(scores >= np.percentile(scores, 70)) & (scores <= np.percentile(scores, 95))]
    assert np.mean(means) == pytest.approx(band.mean(), abs=4 * band.std() / np.sqrt(2000))


def test_one_candidate_of_each_prompt_its_strongest() -> None:
    scores = np.array([1, 2, 3, 4, 5, 6.0])
    found = demo_candidates(scores, 0, low=0, high=100, count=5, prompts=["a", "a", "b", "b", "c", "a"])
    assert found.table["image"].to_list() == [5, 4, 3] and found.short == 2


def test_a_latent_that_is_never_active_and_a_band_that_is_none_are_refused() -> None:
    with pytest.raises(UserError, match="Latent 9 is active in none of 4 images"):
        demo_candidates(np.zeros(4), 9)
    with pytest.raises(UserError, match="95 to 70"):
        demo_candidates(np.ones(4), 9, low=95, high=70)
