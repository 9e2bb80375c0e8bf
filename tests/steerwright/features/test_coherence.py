"""Coherence against all pairs of a set, and against random sets."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest, rankdata

from steerwright.errors import UserError
from steerwright.features.coherence import coherence, coherence_of, null_coherence, unit_rows


def world(images: int = 60, prompts: int = 30, width: int = 8) -> tuple[NDArray[np.float64], list[str]]:
    """Embeddings that share a direction, as those of CLIP do; two images of each prompt that resemble each other."""
    random = np.random.default_rng(7)
    of_prompt = random.normal(size=(prompts, width))
    prompt = np.arange(images) % prompts
    embeddings = of_prompt[prompt] + 0.5 * random.normal(size=(images, width)) + 1.0
    return embeddings * random.uniform(0.5, 2, (images, 1)), [f"prompt {number}" for number in prompt]


def by_pairs(embeddings: NDArray[np.float64], images: list[int]) -> float:
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return float(np.mean([unit[a] @ unit[b] for a, b in combinations(images, 2)]))


def test_coherence_is_the_mean_over_all_pairs() -> None:
    embeddings, _ = world()
    sets = [[0, 1, 2], list(range(0, 60, 3)), [5, 50], [4]]
    padded = np.full((4, 20), -1)
    for row, members in zip(padded, sets, strict=True):
        row[: len(members)] = members
    found = coherence_of(unit_rows(embeddings), padded)
    assert found[:3].tolist() == pytest.approx([by_pairs(embeddings, members) for members in sets[:3]])
    assert np.isnan(found[3])


def test_every_latent_is_as_a_loop_has_it() -> None:
    embeddings, prompts = world()
    random = np.random.default_rng(0)
    values = (random.random((60, 40)) * (random.random((60, 40)) < np.linspace(0, 0.9, 40))).astype(np.float32)
    found = coherence(values, embeddings, prompts, alive_above=0.05, most=12, least=6, draws=200)
    for latent in range(40):
        order = [int(image) for image in np.argsort(-values[:, latent]) if values[image, latent] > 0.05]
        first: dict[str, int] = {}
        for image in order:
            first.setdefault(prompts[image], image)
        images = list(first.values())[:12]
        row = found.row(latent, named=True)
        assert row["latent"] == latent and row["images"] == len(images)
        if len(images) < 6:
            assert row["coherence"] is None and row["z"] is None and row["q_value"] is None
        else:
            assert row["coherence"] == pytest.approx(by_pairs(embeddings, images))
            assert row["z"] == pytest.approx((row["coherence"] - row["null_mean"]) / row["null_sd"])
    assert {6, 12} <= set(found["images"]) and found["coherence"].null_count() >= 5


def test_random_sets_have_the_mean_of_all_sets() -> None:
    # Four prompts with one, two, one and one images: 4 triples of prompts, all equally likely, an image of each.
    random = np.random.default_rng(2)
    embeddings = random.normal(size=(5, 3))
    prompts = [0, 1, 1, 2, 3]
    expected, second = 0.0, 0.0
    for chosen in combinations(range(4), 3):
        images = [[i for i in range(5) if prompts[i] == prompt] for prompt in chosen]
        some = [by_pairs(embeddings, [a, b, c]) for a in images[0] for b in images[1] for c in images[2]]
        expected += np.mean(some) / 4
        second += np.mean(np.square(some)) / 4
    null = null_coherence(embeddings, prompts, [3], draws=20_000, seed=1)
    spread = np.sqrt(second - expected**2)
    assert null.mean[0] == pytest.approx(expected, abs=4 * spread / np.sqrt(20_000))
    assert null.sd[0] == pytest.approx(spread, rel=0.05)


def test_random_sets_lie_within_their_own_interval_as_often_as_it_says() -> None:
    embeddings, prompts = world(400, 200)
    random = np.random.default_rng(11)
    # 400 latents whose best images are random: activations that have nothing to do with the images.
    values = random.random((400, 400)).astype(np.float32)
    found = coherence(values, embeddings, prompts, alive_above=0.0, most=15, draws=4000, seed=3)
    inside = ((found["coherence"] >= found["null_low"]) & (found["coherence"] <= found["null_high"])).mean()
    assert isinstance(inside, float)
    assert inside == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 400))
    assert abs(float(found["z"].mean())) < 3 / np.sqrt(400)  # type: ignore[arg-type]
    assert kstest(found["p_value"].to_numpy(), "uniform").pvalue > 0.01
    assert (found["q_value"] > 0.05).all()


def test_images_that_resemble_each_other_stand_out_of_random_ones() -> None:
    embeddings, prompts = world(200, 100)
    random = np.random.default_rng(4)
    alike = np.arange(0, 100, 8)
    embeddings[alike] += 3 * random.normal(size=8)
    values = random.random((200, 50)).astype(np.float32)
    values[:, 17] = 0.001
    values[alike, 17] = 1
    found = coherence(values, embeddings, prompts, alive_above=1e-4, most=10, draws=1000)
    assert rankdata(-found["z"].to_numpy())[17] == 1 and found["z"][17] > 4
    assert found["p_value"][17] == 1 / 1001 and found["q_value"][17] == pytest.approx(50 / 1001)


def test_random_sets_are_the_same_for_a_seed() -> None:
    embeddings, prompts = world()
    first = null_coherence(embeddings, prompts, [6, 9, 20], draws=300, seed=5)
    again = null_coherence(embeddings, prompts, [20, 6, 9], draws=300, seed=5)
    other = null_coherence(embeddings, prompts, [6, 9, 20], draws=300, seed=6)
    np.testing.assert_array_equal(first.draws, again.draws)
    assert not np.array_equal(first.draws, other.draws)
    low, high = first.interval(0.5)
    assert ((first.draws >= low[:, None]) & (first.draws <= high[:, None])).mean(1) == pytest.approx(0.5, abs=0.01)
    # Larger sets vary less.
    assert (np.diff(first.sd) < 0).all()


def test_an_inactive_image_is_no_example() -> None:
    embeddings, prompts = world(20, 20)
    values = np.zeros((20, 1), dtype=np.float32)
    values[:7, 0] = np.arange(7, 0, -1)
    found = coherence(values, embeddings, prompts, alive_above=1e-4, most=20, draws=50)
    assert found["images"][0] == 7
    assert found["coherence"][0] == pytest.approx(by_pairs(embeddings, list(range(7))))


def test_too_few_prompts_and_embeddings_without_a_direction_are_named() -> None:
    embeddings, prompts = world(10, 5)
    with pytest.raises(UserError, match="cannot be drawn from 5 prompts"):
        null_coherence(embeddings, prompts, [6])
    embeddings[3] = 0
    with pytest.raises(UserError, match="image 3 has no direction"):
        null_coherence(embeddings, prompts, [3])
    with pytest.raises(UserError, match="at least 2"):
        coherence(np.ones((10, 1), np.float32), np.ones((10, 2)), prompts, alive_above=0, least=1)


def test_without_any_latent_that_has_enough_images_there_is_no_coherence() -> None:
    embeddings, prompts = world(10, 5)
    found = coherence(np.ones((10, 3), np.float32), embeddings, prompts, alive_above=0)
    assert found["images"].to_list() == [5, 5, 5] and found["coherence"].null_count() == 3
