"""Sparse ranks against scipy's, and areas under the curve against scikit-learn's."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from steerwright.stats.ranks import Entries, StepRanks, auroc, auroc_of, latent_ranks

ALL = slice(0, 6)


def entries_of(dense: NDArray[np.float32]) -> Entries:
    """What is not zero of [images, latents], in an arbitrary order."""
    image, latent = dense.nonzero()
    order = np.random.default_rng(1).permutation(len(image))
    return Entries(
        image[order].astype(np.int32), latent[order].astype(np.int32), dense[image, latent][order].astype(np.float32)
    )


def dense_sample(signed: bool) -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    # Few distinct values, so that there are many ties; latent 0 is never zero, latent 5 always.
    values = random.integers(-3 if signed else 1, 4, (40, 6)) / 7
    values *= random.random((40, 6)) < [1.0, 0.8, 0.5, 0.2, 0.05, 0]
    values[:, 0] += values[:, 0] == 0
    return values.astype(np.float32)


@pytest.mark.parametrize("signed", [False, True])
def test_ranks_are_scipys(signed: bool) -> None:
    dense = dense_sample(signed)
    ranks = latent_ranks(entries_of(dense), np.arange(40), ALL)
    assert ranks.live.tolist() == [0, 1, 2, 3, 4]
    chosen = np.array([4, 0, 2])
    above = ranks.dense(chosen, ranks.above).double().numpy()
    np.testing.assert_array_equal(above + ranks.zero_rank[chosen], rankdata(dense, axis=0)[:, chosen])
    np.testing.assert_array_equal(ranks.dense(chosen, ranks.mean).numpy(), dense[:, chosen])


@pytest.mark.parametrize("signed", [False, True])
def test_areas_are_scikit_learns_and_half_for_a_dead_latent(signed: bool) -> None:
    dense = dense_sample(signed)
    label = np.arange(40) % 3
    area = auroc(latent_ranks(entries_of(dense), np.arange(40), ALL), label, 3)
    for value in range(3):
        expected = [roc_auc_score(label == value, dense[:, latent]) for latent in range(6)]
        np.testing.assert_allclose(area[value], expected, atol=1e-12)
        assert area[value, 5] == 0.5


def test_images_without_a_place_take_no_part() -> None:
    dense = dense_sample(signed=False)
    taking = np.arange(40) % 4 != 1
    position = np.where(taking, taking.cumsum() - 1, -1)
    label = (np.arange(40) % 3 == 0).astype(np.int64)[taking]
    area = auroc(latent_ranks(entries_of(dense), position, ALL), label, 2)
    expected = [roc_auc_score(label, dense[taking, latent]) for latent in range(6)]
    np.testing.assert_allclose(area[1], expected, atol=1e-12)


def test_a_label_that_no_or_every_image_has_has_no_area() -> None:
    ranks = latent_ranks(entries_of(dense_sample(signed=False)), np.arange(40), ALL)
    assert np.isnan(auroc(ranks, np.zeros(40, dtype=np.int64), 2)).all()


def test_area_of_one_score() -> None:
    scores = dense_sample(signed=True)[:, 1]
    positive = np.arange(40) % 3 == 0
    assert auroc_of(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    assert np.isnan(auroc_of(scores, np.zeros(40, bool))) and np.isnan(auroc_of(scores, np.ones(40, bool)))


def test_no_entries_at_all() -> None:
    ranks = latent_ranks(entries_of(np.zeros((4, 3), np.float32)), np.arange(4), slice(0, 3))
    assert not len(ranks.live) and list(ranks.live_blocks()) == []
    assert (auroc(ranks, np.array([0, 0, 1, 1]), 2) == 0.5).all()


@pytest.mark.parametrize("at_once", [1, 40, 90, 10**6])
def test_ranges_of_latents_give_the_same_as_all_at_once(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("steerwright.stats.ranks.ENTRIES", at_once)
    dense, label = dense_sample(signed=True), np.arange(40) % 3
    whole = auroc(latent_ranks(entries_of(dense), np.arange(40), ALL), label, 3)
    parts = StepRanks(entries_of(dense), np.arange(40), 6)
    for _ in range(2):
        ranges = [(where.start, where.stop, auroc(ranks, label, 3)) for where, ranks in parts]
        assert [first for first, _, _ in ranges[1:]] == [end for _, end, _ in ranges[:-1]]
        np.testing.assert_array_equal(np.concatenate([area for _, _, area in ranges], axis=1), whole)
        assert {1: len(ranges) >= 5, 10**6: len(ranges) == 1}.get(at_once, 1 < len(ranges) < 6)
        counts = (dense != 0).sum(0)
        assert all(counts[first:end].sum() <= max(at_once, counts[first]) for first, end, _ in ranges)
