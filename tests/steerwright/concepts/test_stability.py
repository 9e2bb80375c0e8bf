"""Stability over halves of the prompts, against each half worked out by itself."""

import numpy as np
import pytest
from numpy.typing import NDArray

from steerwright.concepts.concept_table import Stability, prompt_halves
from steerwright.stats.ranks import Entries, StepRanks


def test_halves_are_complements_and_keep_prompts_together() -> None:
    prompt = np.repeat(np.arange(10), 3)
    halves = prompt_halves(prompt, pairs=8, seed=0)
    assert halves.shape == (16, 30)
    assert (halves[:8] ^ halves[8:]).all()
    by_prompt = halves.reshape(16, 10, 3)
    assert (by_prompt == by_prompt[:, :, :1]).all() and (by_prompt[:, :, 0].sum(1) == 5).all()
    assert len(np.unique(halves, axis=0)) > 8


def shares(
    entries: Entries, label: NDArray[np.int64], values: int, halves: NDArray[np.bool_], *, size: int, top: int
) -> NDArray[np.float64]:
    stability = Stability(halves, label, values, size)
    for where, ranks in StepRanks(entries, np.arange(len(label)), size):
        stability.add(where, ranks)
    return stability.shares(top)


@pytest.mark.parametrize("at_once", [20, 10**6])
def test_share_of_halves_in_which_a_latent_is_among_the_best(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("steerwright.stats.ranks.ENTRIES", at_once)
    random = np.random.default_rng(0)
    label = np.arange(24) % 3
    dense = random.random((24, 6)) * (random.random((24, 6)) < 0.6)
    dense[:, 5] = 0
    dense[label == 1, 2] += 3
    image, latent = dense.nonzero()
    entries = Entries(image.astype(np.int32), latent.astype(np.int32), dense[image, latent].astype(np.float32))
    halves = prompt_halves(np.arange(24), pairs=6, seed=1)
    expected = np.zeros((3, 6))
    for value in range(3):
        for half in halves:
            own, others = dense[half & (label == value)].mean(0), dense[half & (label != value)].mean(0)
            score = own / own.sum() - others / others.sum()
            expected[value, [f for f in np.argsort(-score)[:2] if score[f] > 0]] += 1 / 12
    found = shares(entries, label, 3, halves, size=6, top=2)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[1, 2] == 1 and found[:, 5].max() == 0


def test_halves_without_the_label_are_left_out() -> None:
    dense = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    image, latent = dense.nonzero()
    entries = Entries(image.astype(np.int32), latent.astype(np.int32), dense[image, latent].astype(np.float32))
    label = np.array([0, 1, 1, 1])
    halves = prompt_halves(np.arange(4), pairs=10, seed=0)
    # The one image of label 0 is in one half of each pair, and there its latent is the best.
    assert shares(entries, label, 2, halves, size=2, top=1)[0].tolist() == [1.0, 0.0]
    assert np.isnan(shares(entries, np.zeros(4, dtype=np.int64), 1, halves, size=2, top=1)).all()
