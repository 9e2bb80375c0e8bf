"""Planted permutations are found exactly; nothing depends on the numbers of latents."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from steerwright.errors import UserError
from steerwright.features.matching import assign, dictionary_facts, match_latents, match_summary, unit_activations
from steerwright.features.s_matrix import SMatrix

Matrix = Callable[[NDArray[np.floating]], SMatrix]


def sample(images: int = 80, size: int = 40, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    values = random.random((images, size)) * (random.random((images, size)) < 0.3)
    values[:, 3] = 0  # dead
    values[:, 4] = 0.5  # the same in every image
    return values.astype(np.float32)


@pytest.mark.parametrize("exactly", [4096, 10])
@pytest.mark.parametrize("by", ["correlation", "cosine"])
def test_a_planted_permutation_is_found_exactly(s_matrix_of: Matrix, by: str, exactly: int) -> None:
    random = np.random.default_rng(1)
    values = sample(seed=2)
    values[:, 4] = random.random(80)
    order = random.permutation(40)
    while (order == np.arange(40)).any():  # so that equal numbers are never right
        order = random.permutation(40)
    other = values[:, order] * random.uniform(0.2, 5, 40) + 0.01 * random.random((80, 40))
    other[:, order == 3] = 0
    directions = torch.randn(40, 12, generator=torch.Generator().manual_seed(0))
    moved = directions[torch.from_numpy(order)] * 3 + 0.05
    found = match_latents(
        s_matrix_of(values), s_matrix_of(other), by=by, directions=(directions, moved), exactly=exactly  # type: ignore[arg-type]
    )  # fmt: skip
    assert len(found) == 39
    assert {(a, b) for a, b in found.select("latent_a", "latent_b").iter_rows()} == {
        (int(order[b]), b) for b in range(40) if order[b] != 3
    }
    assert (found["cosine"] > 0.99).all() and (found["correlation"] > 0.99).all()


def test_a_dictionary_of_another_size_and_width(s_matrix_of: Matrix) -> None:
    values = sample()
    kept = np.array([30, 10, 20])
    noise = np.random.default_rng(9).random((80, 50))
    other = np.concatenate([noise, values[:, kept]], axis=1)
    found = match_latents(s_matrix_of(values), s_matrix_of(other), directions=(torch.ones(40, 4), torch.ones(53, 5)))
    assert len(found) == 39  # all that are alive on the smaller side
    best = found.head(3)
    assert dict(zip(best["latent_a"], best["latent_b"], strict=True)) == {30: 50, 10: 51, 20: 52}
    assert best["correlation"].to_list() == pytest.approx([1, 1, 1]) and found["cosine"].null_count() == 39


def test_correlations_are_numpys_and_a_constant_latent_has_none(s_matrix_of: Matrix) -> None:
    a, b = sample(), sample(seed=5)
    found = match_latents(s_matrix_of(a), s_matrix_of(b))
    for row in found.iter_rows(named=True):
        if 4 in (row["latent_a"], row["latent_b"]):
            assert row["correlation"] == 0
        else:
            expected = np.corrcoef(a[:, row["latent_a"]], b[:, row["latent_b"]])[0, 1]
            assert row["correlation"] == pytest.approx(expected, abs=1e-6)
    assert found["correlation"].is_sorted(descending=True)
    assert 3 not in found["latent_a"].to_list() + found["latent_b"].to_list()


def test_the_assignment_has_the_largest_sum_and_the_greedy_one_takes_the_best_pair_first() -> None:
    # Rows: the best pair (0, 0) costs the others more than it gains.
    first = torch.tensor([[0.9, 0.8], [0.85, 0.1]])
    second = torch.eye(2)
    exact = assign(first, second)
    assert list(zip(exact.first.tolist(), exact.second.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert exact.similarity.tolist() == pytest.approx([0.8, 0.85])
    greedy = assign(first, second, exactly=1)
    assert list(zip(greedy.first.tolist(), greedy.second.tolist(), strict=True)) == [(0, 0), (1, 1)]


@pytest.mark.parametrize("block", [50, 10**6])
def test_the_greedy_assignment_is_that_of_a_loop(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("steerwright.features.matching._BLOCK", block)
    generator = torch.Generator().manual_seed(3)
    first, second = (torch.randn(n, 6, generator=generator) for n in (25, 31))
    similarity = (first @ second.T).numpy()
    expected, left = [], similarity.copy()
    for _ in range(25):
        here, there = np.unravel_index(left.argmax(), left.shape)
        expected.append((int(here), int(there)))
        left[here], left[:, there] = -np.inf, -np.inf
    found = assign(first, second, exactly=1)
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected


def test_shuffled_images_say_what_chance_would_match(s_matrix_of: Matrix) -> None:
    values = sample()
    order = np.random.default_rng(4).permutation(40)
    a, b = s_matrix_of(values), s_matrix_of(values[:, order])
    prompts = np.repeat(np.arange(40), 2).tolist()
    summary = match_summary(match_latents(a, b), a, b, prompts, shuffles=3)
    assert summary["pairs"] == 39
    # Latent 4 is the same in every image, so 38 of 39 correlate with their partner.
    assert summary["share_above"] == {bar: pytest.approx(38 / 39) for bar in ("0.5", "0.7", "0.9")}
    assert summary["chance"]["share_above"]["0.9"] == 0 and 0.2 < summary["chance_high"] < 0.6
    assert summary["share_above_chance"] == pytest.approx(38 / 39)
    # What does not belong together is matched no better than shuffled images are.
    c = s_matrix_of(sample(seed=8))
    chance = match_summary(match_latents(a, c), a, c, prompts, shuffles=5)
    assert chance["correlation"] == pytest.approx(chance["chance"]["correlation"], abs=0.03)
    assert chance["share_above_chance"] < 0.15


def test_images_of_one_prompt_cannot_be_shuffled_and_those_of_two_in_one_way(s_matrix_of: Matrix) -> None:
    a = s_matrix_of(sample())
    found = match_latents(a, a)
    one = match_summary(found, a, a, [0] * 80, shuffles=5)
    assert one["chance"] == {"correlation": None, "share_above": {}}
    assert one["chance_high"] is None and one["share_above_chance"] is None
    two = [match_summary(found, a, a, np.repeat([0, 1], 40).tolist(), shuffles=5, seed=seed) for seed in range(4)]
    # Never the order that is there, in which everything matches itself.
    assert all(said["chance"]["share_above"]["0.9"] < 0.5 and said["chance"] == two[0]["chance"] for said in two)


def test_facts_of_a_dictionary_are_counts(s_matrix_of: Matrix) -> None:
    values = sample()
    facts = dictionary_facts(s_matrix_of(values))
    active = values > 1e-4
    assert facts["alive"] == 39 and facts["latents"] == 40 and facts["l0"] is None
    assert facts["latents_per_image"] == pytest.approx(active.sum(1).mean())
    assert facts["density"] == pytest.approx(active.mean(0)[active.any(0)].mean())


def test_matrices_of_other_images_and_directions_without_a_cosine_are_refused(s_matrix_of: Matrix) -> None:
    a = s_matrix_of(sample())
    with pytest.raises(UserError, match="not of the same images"):
        match_latents(a, s_matrix_of(sample(images=79)))
    with pytest.raises(UserError, match="width 4 and 5"):
        match_latents(a, a, by="cosine", directions=(torch.ones(40, 4), torch.ones(40, 5)))
    with pytest.raises(UserError, match="only with the decoder directions"):
        match_latents(a, a, by="cosine")


def test_nothing_alive_matches_nothing(s_matrix_of: Matrix) -> None:
    dead = s_matrix_of(np.zeros((6, 4)))
    assert len(match_latents(dead, dead)) == 0
    assert unit_activations(dead, np.arange(4)).abs().sum() == 0
