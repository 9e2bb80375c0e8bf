"""Bootstrap intervals against hand arithmetic, scipy, and data whose truth is known."""

import itertools

import numpy as np
import pytest
from scipy import stats

from steerwright.stats.bootstrap import Bootstrap


def test_two_prompts_give_the_exact_resampling_distribution() -> None:
    # Prompt a has the images 1, 1, 1, 0; prompt b has 0, 0. Draws: aa (1/4) .75, ab or ba (1/2) 3/6, bb (1/4) 0.
    interval = Bootstrap(resamples=4000, level=0.4).mean([1, 1, 1, 0, 0, 0], list("aaaabb"))
    assert (interval.estimate, interval.low, interval.high) == (0.5, 0.5, 0.5)
    wide = Bootstrap(resamples=4000, level=0.9).mean([1, 1, 1, 0, 0, 0], list("aaaabb"))
    assert (wide.low, wide.high) == (0.0, 0.75)
    assert (wide.clusters, wide.rows) == (2, 6)


def test_three_clusters_match_the_enumeration_of_all_27_draws() -> None:
    means = np.array([0.1, 0.5, 1.2])
    every_draw = [np.mean(means[list(draw)]) for draw in itertools.product(range(3), repeat=3)]
    interval = Bootstrap(resamples=200_000, level=0.8).mean(means, [5, 6, 7])
    exact = np.quantile(every_draw, [0.1, 0.9], method="inverted_cdf")
    assert [interval.low, interval.high] == pytest.approx(exact.tolist())


def test_unclustered_intervals_agree_with_scipy() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=60)
    ours = Bootstrap(resamples=20_000).mean(values, range(60))
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    # The standard error of an end from 20 000 draws is about 0.02 of the interval's half-width.
    assert [ours.low, ours.high] == pytest.approx([theirs.low, theirs.high], abs=0.03)


def test_a_ratio_of_unclustered_values_agrees_with_scipy() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.gamma(4.0, size=80), rng.gamma(3.0, size=80)
    ours = Bootstrap(resamples=20_000).relative_difference(first, second, range(80))
    theirs = stats.bootstrap(
        (first, second), lambda a, b, axis: a.mean(axis) / b.mean(axis) - 1, paired=True, vectorized=True,
        n_resamples=20_000, method="percentile", rng=np.random.default_rng(4),
    ).confidence_interval  # fmt: skip
    assert ours.estimate == pytest.approx(first.mean() / second.mean() - 1)
    assert [ours.low, ours.high] == pytest.approx([theirs.low, theirs.high], abs=0.015)


def test_a_paired_difference_does_not_see_what_both_share() -> None:
    rng = np.random.default_rng(5)
    prompts = np.repeat(np.arange(30), 4)
    shared = rng.normal(0, 10, 30)[prompts]
    gain = rng.normal(1, 0.1, 120)
    interval = Bootstrap().paired_difference(shared + gain, shared, prompts.tolist())
    assert interval.estimate == pytest.approx(gain.mean())
    assert interval.high - interval.low < 0.1
    assert interval.excludes(0) and not interval.excludes(1)


def test_intervals_cover_the_truth_where_intervals_over_images_would_not() -> None:
    rng = np.random.default_rng(6)
    prompts, seeds, simulations = 30, 8, 400
    clusters = np.repeat(np.arange(prompts), seeds)
    hits = naive_hits = 0
    for number in range(simulations):
        # Each prompt has its own chance of winter, from Beta(1, 1): the mean is 1/2.
        values = rng.random(prompts * seeds) < rng.random(prompts)[clusters]
        ours = Bootstrap(resamples=400, seed=number).mean(values, clusters.tolist())
        naive = Bootstrap(resamples=400, seed=number).mean(values, range(len(values)))
        hits += not ours.excludes(0.5)
        naive_hits += not naive.excludes(0.5)
    # 95 % minus the small loss of percentile intervals with 30 clusters, and three standard errors of 400 trials.
    assert 0.90 <= hits / simulations <= 0.98
    assert naive_hits / simulations < 0.80


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    values, clusters = np.random.default_rng(7).normal(size=40), [i // 4 for i in range(40)]
    assert Bootstrap(seed=1).mean(values, clusters) == Bootstrap(seed=1).mean(values, clusters)
    assert Bootstrap(seed=1).mean(values, clusters).low != Bootstrap(seed=2).mean(values, clusters).low


def test_the_order_of_rows_within_a_prompt_changes_nothing() -> None:
    rows = [(0, 1.0), (0, 2.0), (1, 5.0), (1, 6.0), (2, 0.0), (2, 1.0)]
    mixed = [rows[i] for i in (0, 2, 4, 5, 3, 1)]
    first, second = (Bootstrap().mean([v for _, v in r], [c for c, _ in r]) for r in (rows, mixed))
    assert first == second


def test_relative_difference_over_zero_is_not_a_number_or_infinite() -> None:
    nothing = Bootstrap().relative_difference([0, 0], [0, 0], [0, 1])
    assert np.isnan(nothing.estimate) and not nothing.excludes(0)
    something = Bootstrap().relative_difference([1] * 6, [0] * 6, range(6))
    assert something.estimate == np.inf and something.low == np.inf and something.excludes(0)


@pytest.mark.parametrize("prompts", [1, 2, 3, 4, 5, 6, 8])
def test_few_prompts_never_exclude_what_they_could_differ_from_by_chance(prompts: int) -> None:
    # Coins that are 1 or -1: all heads or all tails once in 2^(n-1), which for five is more often than 5 %.
    rng = np.random.default_rng(0)
    draws = [Bootstrap(resamples=200).mean(rng.choice([-1.0, 1.0], prompts), range(prompts)) for _ in range(300)]
    wrongly = np.mean([interval.excludes(0) for interval in draws])
    assert wrongly == 0 if prompts < 6 else wrongly < 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5
    same = Bootstrap().mean([1.0] * prompts, range(prompts))
    assert (same.low, same.high) == (1, 1) and same.excludes(0) == (prompts >= 6)


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [([], [], "no rows"), ([1.0], [0, 1], "one value for each of 2"), ([1.0, np.nan], [0, 1], "1 of 2 .* not finite")],
)
def test_values_that_cannot_be_resampled_are_refused(values: list[float], clusters: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Bootstrap().mean(values, clusters)
