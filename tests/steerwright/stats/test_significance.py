"""Permutation p-values: what they are where all permutations can be listed, uniform where there is nothing."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest, rankdata

from steerwright.stats.ranks import Entries, LatentRanks, auroc, latent_ranks
from steerwright.stats.significance import LabelPermutations, draw_rounds, permutation_p_values


def ranks_of(dense: NDArray[np.floating]) -> LatentRanks:
    image, latent = dense.nonzero()
    held = dense[image, latent].astype(np.float32)
    entries = Entries(image.astype(np.int32), latent.astype(np.int32), held)
    return latent_ranks(entries, np.arange(len(dense)), slice(0, dense.shape[1]))


def test_p_values_are_those_of_all_permutations() -> None:
    random = np.random.default_rng(2)
    dense = random.random((9, 4)) * (random.random((9, 4)) < 0.7)
    label = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0])
    dense[:3, 0] += 1  # separates: only 1 of 84 choices of three images does as well
    ranked = rankdata(dense, axis=0)
    sums = np.array([ranked[list(chosen)].sum(0) for chosen in combinations(range(9), 3)])
    expected = (sums >= ranked[:3].sum(0)).mean(0)
    permutations = LabelPermutations(label, np.arange(9), seed=0)
    found = permutation_p_values(ranks_of(dense), label, 2, permutations, most=20_000)[1]
    # 20,000 draws, but 10 times reached is enough: a relative error of about 1 / sqrt(10) at worst.
    assert expected[0] == pytest.approx(1 / 84)
    np.testing.assert_allclose(found, expected, rtol=0.6)
    always = permutation_p_values(ranks_of(dense), label, 2, permutations, most=100)[1]
    assert ((always - expected) < 4 * np.sqrt(expected * (1 - expected) / 100) + 0.011).all()


def test_p_values_are_uniform_when_labels_mean_nothing() -> None:
    dense = np.random.default_rng(5).random((60, 1500))
    label = np.arange(60) % 4
    permutations = LabelPermutations(label, np.arange(60), seed=1)
    p_values = permutation_p_values(ranks_of(dense), label, 4, permutations, most=1000)
    # The latents are independent, so those of one label are 1,500 independent p-values.
    assert kstest(p_values[2], "uniform").pvalue > 0.01
    # Ten times reached in a hundred is enough; for about a tenth of the latents the draws went on to a thousand.
    after = [np.isclose(p_values[2] * (1 + draws) % 1, [[0], [1]], atol=1e-6).any(0) for draws in (100, 1000)]
    assert (after[0] | after[1]).all() and not (after[0] & (p_values[2] < 11 / 101)).any()
    assert 0.07 < (after[1] & ~after[0]).mean() < 0.13
    for level in (0.005, 0.02, 0.1, 0.5):
        # Of 1,500, with three standard errors.
        assert (p_values[2] <= level).mean() < level + 3 * np.sqrt(level / 1500)


def test_what_separates_gets_the_least_p_value_and_what_is_never_active_one() -> None:
    dense = np.zeros((40, 3))
    dense[:10, 0] = 1 + np.arange(10)
    dense[10:, 1] = 1
    label = (np.arange(40) < 10).astype(np.int64)
    permutations = LabelPermutations(label, np.arange(40), seed=0)
    p_values = permutation_p_values(ranks_of(dense), label, 2, permutations, most=5000)
    assert p_values[1].tolist() == [1 / 5001, 1.0, 1.0]
    assert p_values[0].tolist() == [1.0, 1 / 5001, 1.0]


def test_images_of_one_prompt_are_permuted_together() -> None:
    # Two prompts, each with 20 images that all say the same: one of the two permutations is as good as what was seen.
    prompt = np.repeat([0, 1], 20)
    label = prompt.copy()
    dense = np.repeat([[1.0], [2.0]], 20, axis=0)
    permutations = LabelPermutations(label, prompt, seed=0)
    p_value = permutation_p_values(ranks_of(dense), label, 2, permutations, most=1000)[1, 0]
    assert p_value == pytest.approx(0.5, abs=0.15)
    alone = LabelPermutations(label, np.arange(40), seed=0)
    assert permutation_p_values(ranks_of(dense), label, 2, alone, most=1000)[1, 0] == 1 / 1001
    with pytest.raises(ValueError, match="different labels"):
        LabelPermutations(np.arange(40) % 2, prompt, seed=0)


def test_prompts_with_several_images_give_the_area_of_the_images_drawn() -> None:
    # Prompts of 1, 2 and 3 images: the number of images with the label differs between draws.
    prompt = np.array([0, 1, 1, 2, 2, 2])
    label = np.array([1, 0, 0, 0, 0, 0])
    dense = np.array([[5.0], [1.0], [2.0], [6.0], [0.0], [3.0]])
    areas = [auroc(ranks_of(dense), (prompt == chosen).astype(np.int64), 2)[1, 0] for chosen in range(3)]
    permutations = LabelPermutations(label, prompt, seed=3)
    found = permutation_p_values(ranks_of(dense), label, 2, permutations, most=100)[1, 0]
    expected = np.mean([area >= areas[0] for area in areas])  # 1 of 3
    assert expected == pytest.approx(1 / 3)
    assert found == pytest.approx(expected, abs=0.15)


def test_latents_that_need_no_fine_p_value_stop_at_a_thousand() -> None:
    dense = np.repeat(np.arange(40.0)[::-1, None], 2, axis=1)
    label = (np.arange(40) < 10).astype(np.int64)
    permutations = LabelPermutations(label, np.arange(40), seed=0)
    finely = np.array([[False, False], [False, True]])
    p_values = permutation_p_values(ranks_of(dense), label, 2, permutations, most=3500, finely=finely)
    assert p_values.tolist() == [[1.0, 1.0], [1 / 1001, 1 / 3501]]


def test_rounds_of_draws() -> None:
    assert list(draw_rounds(50)) == [(0, 50)]
    assert list(draw_rounds(100)) == [(0, 100)]
    assert list(draw_rounds(1000)) == [(0, 100), (100, 1000)]
    assert list(draw_rounds(2500)) == [(0, 100), (100, 1000), (1000, 2000), (2000, 2500)]


def test_draws_are_the_same_whether_kept_or_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    label = np.arange(30) % 3
    kept = LabelPermutations(label, np.arange(30), seed=4)
    first = kept.draws(100, 1000).copy()
    monkeypatch.setattr("steerwright.stats.significance._KEPT_BYTES", 0)
    again = LabelPermutations(label, np.arange(30), seed=4)
    assert np.array_equal(kept.draws(100, 1000), first)
    assert np.array_equal(again.draws(100, 1000), first)
    assert np.array_equal(again.draws(100, 1000), first)
    whole = np.concatenate([again.draws(0, 100), first])
    assert np.array_equal(np.sort(whole, axis=1), np.tile(np.sort(label), (1000, 1)))
    assert len(np.unique(whole, axis=0)) == 1000
