"""Vectors of the residual stream, from planted activations."""

import math
from typing import Any

import pytest
import torch

from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.language import held_out_scores, residual_vectors
from tasks.language.vectors import cosine_table, separability, statistics_table

MODEL = Fingerprint(name="m", source="s", revision=None, digest="0" * 64, libraries={})
POINTS = [Hookpoint("model.layers.0"), Hookpoint("model.layers.1")]


def planted(pairs: int, gap: tuple[float, float], noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """[2 layers, pairs, 6]: both sides share a topic of their own; they differ by `gap` along axis LAYER and noise."""
    generator = torch.Generator().manual_seed(seed)
    topic = 5 * torch.randn(2, pairs, 6, generator=generator)
    topic[:, :, :2] = 3.0
    sides = [topic + noise * torch.randn(2, pairs, 6, generator=generator) for _ in range(2)]
    for layer in range(2):
        sides[0][layer, :, layer] += gap[layer]
    return sides[0], sides[1]


def test_each_layer_finds_the_axis_on_which_its_own_pairs_differ() -> None:
    positive, negative = planted(12, (2.0, 7.0), 0.0)
    vectors = residual_vectors(positive, negative, POINTS, concept="c", model=MODEL, policy="content", shuffles=8)
    assert (vectors.concept, vectors.token_policy, vectors.estimator) == ("c", "content", "mean_difference")
    for layer, (slot, direction) in enumerate(vectors.directions.items()):
        assert slot.hookpoint == POINTS[layer] and slot.tokens == "all"
        assert torch.equal(direction.unit, torch.eye(6)[layer])
        assert direction.norm == pytest.approx((2.0, 7.0)[layer], rel=1e-6)
        # Texts without the concept have 3 there.
        assert direction.origin == pytest.approx(3.0, rel=1e-6)
        # Some of the twelve pairs always cancel: swapped sides never reach the whole distance.
        assert 0 < vectors.controls[slot] < float(direction.norm)
        assert not vectors.is_noise(slot)


def test_pairs_that_differ_by_chance_alone_are_noise_and_tell_nothing() -> None:
    # Of 20 swaps the longest beats the real one in 20 of 21 draws: at most two of eight by chance (binomial, p > 0.99).
    noisy = 0
    scores = []
    for seed in range(8):
        positive, negative = planted(30, (0.0, 0.0), 1.0, seed)
        vectors = residual_vectors(positive, negative, POINTS, concept="c", model=MODEL, policy="last", shuffles=20)
        noisy += sum(vectors.is_noise(slot) for slot in vectors.directions)
        scores += [separability(positive[layer], negative[layer]) for layer in range(2)]
    assert noisy >= 12
    assert abs(sum(scores) / len(scores) - 0.5) < 0.1


@pytest.mark.parametrize("pairs", [2, 3, 4, 6, 8, 12])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("estimator", ["mean_difference", "principal_component"])
def test_a_concept_that_tells_all_pairs_apart_is_never_noise_however_few_they_are(
    pairs: int, centred: bool, estimator: Any
) -> None:
    for seed in range(20):
        positive, negative = planted(pairs, (4.0, 4.0), 0.1, seed)
        others = torch.tensor([[0.5, 0.5, 0, 0, 0, 0]] * 2) if centred else None
        for shuffles in (20, 2 ** (pairs - 1) - 1):
            vectors = residual_vectors(
                positive, negative, POINTS, concept="c", model=MODEL, policy="last", estimator=estimator,
                others=others, shuffles=shuffles, seed=seed,
            )  # fmt: skip
            assert not any(vectors.is_noise(slot) for slot in vectors.directions)
            # Six pairs have 31 swaps, five 15: fewer than 20 say nothing at one in 21.
            told = {vectors.noise_mark(slot) for slot in vectors.directions}
            assert told == ({None} if shuffles == 20 and pairs < 6 else {False})
            assert len(vectors.controls) == (0 if told == {None} else 2)


@pytest.mark.parametrize(("pairs", "shuffles"), [(2, 1), (3, 3), (4, 7), (6, 20), (8, 20), (12, 10)])
def test_noise_is_marked_as_often_as_the_shuffles_say(pairs: int, shuffles: int) -> None:
    # Noise is as likely the longest as any of its shuffles: it escapes once in shuffles + 1.
    trials = 300
    escaped = 0
    for seed in range(trials):
        positive, negative = planted(pairs, (0.0, 0.0), 1.0, seed)
        vectors = residual_vectors(
            positive[:1],
            negative[:1],
            POINTS[:1],
            concept="c",
            model=MODEL,
            policy="last",
            shuffles=shuffles,
            seed=seed,
        )
        escaped += not vectors.is_noise(next(iter(vectors.directions)))
    level = 1 / (shuffles + 1)
    assert escaped / trials == pytest.approx(level, abs=3 * (level * (1 - level) / trials) ** 0.5)


def test_sides_that_do_not_fit_or_do_not_differ_are_refused() -> None:
    positive, negative = planted(4, (1.0, 1.0), 0.0)
    with pytest.raises(UserError, match="as many positive as negative"):
        residual_vectors(positive[:, :3], negative, POINTS, concept="c", model=MODEL, policy="last")
    with pytest.raises(UserError, match=r"model.layers.0:out.*coincide"):
        residual_vectors(negative, negative, POINTS, concept="c", model=MODEL, policy="last")
    with pytest.raises(UserError, match="not finite"):
        residual_vectors(positive * math.inf, negative, POINTS, concept="c", model=MODEL, policy="last")


def test_a_held_out_score_is_plus_one_at_the_positive_mean_and_minus_one_at_the_negative() -> None:
    positive, negative = planted(12, (4.0, 4.0), 0.0)
    above, below = held_out_scores(positive[0], negative[0])
    assert torch.allclose(above, torch.ones(12).double()) and torch.allclose(below, -torch.ones(12).double())


def test_a_pair_is_never_scored_by_a_direction_that_saw_it() -> None:
    # Each pair differs along an axis of its own: without it nothing is known of that axis, so scores are those of the
    # midpoint, and fitting on all pairs would have told all of them apart.
    negative = torch.zeros(6, 6)
    above, below = held_out_scores(torch.eye(6), negative, folds=6)
    assert torch.equal(above, below)
    assert separability(torch.eye(6), negative) == 0.5


def test_a_single_pair_cannot_be_held_out() -> None:
    assert math.isnan(separability(torch.ones(1, 3), torch.zeros(1, 3)))


def test_separability_is_the_share_of_couples_in_the_right_order() -> None:
    positive, negative = planted(24, (1.5, 1.5), 1.0)
    for layer in range(2):
        above, below = held_out_scores(positive[layer], negative[layer])
        couples = [(p > n) for p in above.tolist() for n in below.tolist()]
        assert separability(positive[layer], negative[layer]) == pytest.approx(sum(couples) / len(couples))


def test_the_table_has_norms_relative_to_the_stream_and_likeness_both_ways() -> None:
    positive, negative = planted(12, (2.0, 7.0), 0.0)
    vectors = residual_vectors(positive, negative, POINTS, concept="c", model=MODEL, policy="content", shuffles=4)
    table = statistics_table(vectors, positive, negative, factor="emotion")
    assert table["layer"].to_list() == [0, 1] and set(table["factor"]) == {"emotion"}
    for layer in range(2):
        stream = float(torch.cat([positive[layer], negative[layer]]).norm(dim=1).mean())
        assert table["norm"][layer] == pytest.approx((2.0, 7.0)[layer], rel=1e-6)
        assert table["relative_norm"][layer] == pytest.approx((2.0, 7.0)[layer] / stream, rel=1e-5)
    turned = residual_vectors(
        positive.roll(1, 0), negative.roll(1, 0), POINTS, concept="d", model=MODEL, policy="content"
    )  # fmt: skip
    likeness = cosine_table({"c": vectors, "d": turned})
    assert len(likeness) == 8
    found = {(one, other, layer): cosine for one, other, layer, cosine in likeness.iter_rows()}
    # Layer 0 of one is axis 0, of the other axis 1.
    assert found["c", "c", 0] == pytest.approx(1.0) and found["c", "d", 1] == found["d", "c", 1] == pytest.approx(0.0)
