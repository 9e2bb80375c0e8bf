"""Truth: shares against random choices by enumeration, and prediction against all pairs."""

from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steerwright.report.flux.content import LayerContent
from steerwright.report.flux.statistics import by_coherence, choice_table, choices, judged, prediction, wilson


def layer(auroc: list[float | None], z: list[float | None], selected: list[int], alive: list[bool]) -> LayerContent:
    latents = list(range(len(auroc)))
    return LayerContent(
        name="early",
        statistics=pl.DataFrame({
            "latent": latents, "alive": alive, "bin": "common", "frequency": 0.05, "mean": 1.0, "std": 1.0,
            "largest": 2.0,
        }),
        labels=pl.DataFrame({"latent": latents, "label": "season", "value": "winter", "auroc": auroc}),
        coherence=pl.DataFrame({
            "latent": latents, "images": 8, "coherence": z, "null_mean": 0.0, "null_low": -1.0, "null_high": 1.0,
            "z": z,
        }),
        selected=pl.DataFrame({
            "rank": range(1, len(selected) + 1), "latent": selected, "coherence": 0.5, "z": 1.0,
            "examples": [[0]] * len(selected),
        }),
    )  # fmt: skip


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    # Newcombe 1998 (Stat. Med. 17, 857), table I, method 3: 81/263, 15/148, 0/20 and 1/29.
    for count, total, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
                                    (1, 29, 0.0061, 0.1718)):  # fmt: skip
        share = wilson(count, total)
        assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)
        assert share.estimate == count / total
    assert wilson(4, 4).high == 1.0


def test_a_random_choice_is_every_choice_of_as_many_latents() -> None:
    auroc = [0.95, 0.99, 0.91, 0.5, 0.6, 0.7, 0.8, 0.55, 0.62, None]
    content = layer(auroc, [1.0] * 10, [0, 1, 3], [True] * 9 + [False])
    alive, able = choices(content, 0.9)
    # All 84 ways to take three of the nine latents that have a label.
    shares = sorted(sum(auroc[one] >= 0.9 for one in some) / 3 for some in combinations(range(9), 3))
    assert (alive.selected.count, alive.selected.total) == (2, 3)
    assert alive.pool.estimate == pytest.approx(np.mean(shares)) == pytest.approx(1 / 3)
    assert alive.chance == pytest.approx(np.mean([share >= 2 / 3 for share in shares]))
    assert (alive.low, alive.high) == (shares[2], shares[-2])
    assert not alive.beats and able.name == "latents active in enough prompts"


def test_selecting_all_good_ones_of_many_beats_a_random_choice() -> None:
    content = layer([0.95] * 5 + [0.5] * 195, [1.0] * 200, [0, 1, 2, 3, 4], [True] * 200)
    found = choices(content, 0.9)[0]
    assert found.beats and found.chance < 1e-8
    assert choice_table([found])["share"].to_list() == [1.0]


def test_the_second_pool_holds_only_what_could_have_been_selected() -> None:
    z = [1.0] * 6 + [None] * 4
    found = choices(layer([0.95, 0.5, 0.5, 0.5, 0.95, 0.5, 0.5, 0.5, 0.5, 0.5], z, [0, 1], [True] * 10), 0.9)
    assert [(one.pool.count, one.pool.total) for one in found] == [(2, 10), (2, 6)]


def test_dead_latents_are_in_no_pool() -> None:
    found = choices(layer([0.95, 0.5, 0.5, 0.99], [1.0] * 3 + [None], [0], [True, True, True, False]), 0.9)
    assert [(one.pool.count, one.pool.total) for one in found] == [(1, 3), (1, 3)]


def test_without_labels_nothing_is_compared() -> None:
    assert choices(layer([None] * 3, [1.0] * 3, [0], [True] * 3), 0.9) == []
    assert prediction(layer([None] * 3, [1.0] * 3, [0], [True] * 3), 0.9) is None


def test_prediction_is_the_chance_over_all_pairs() -> None:
    rng = np.random.default_rng(3)
    auroc, z = rng.uniform(0.5, 1, 40).tolist(), rng.integers(0, 6, 40).astype(float).tolist()
    found = prediction(layer(auroc, z, [0], [True] * 40), 0.8)
    good = [value >= 0.8 for value in auroc]
    pairs = [(a > b) + (a == b) / 2 for a, x in zip(z, good, strict=True) if x
             for b, y in zip(z, good, strict=True) if not y]  # fmt: skip
    assert found is not None and found.auc == pytest.approx(np.mean(pairs))
    assert found.low is not None and found.high is not None and found.low < found.auc < found.high
    assert (found.latents, found.interpretable) == (40, sum(good))


def test_rank_correlation_follows_order_and_not_size() -> None:
    rising = prediction(layer([0.5, 0.6, 0.7, 0.95], [1.0, 2.0, 3.0, 400.0], [0], [True] * 4), 0.9)
    falling = prediction(layer([0.95, 0.7, 0.6, 0.5], [1.0, 2.0, 3.0, 400.0], [0], [True] * 4), 0.9)
    assert rising is not None and falling is not None
    assert (rising.spearman, falling.spearman) == pytest.approx((1.0, -1.0))
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: by hand 4.5 / sqrt(5 * 4.5).
    tied = prediction(layer([0.5, 0.6, 0.6, 0.95], [1.0, 2.0, 3.0, 400.0], [0], [True] * 4), 0.9)
    assert tied is not None and tied.spearman == pytest.approx(4.5 / np.sqrt(22.5))


def test_parts_by_coherence_hold_every_latent_once_in_order_of_z() -> None:
    auroc = [0.95 if place >= 16 else 0.5 for place in range(20)]
    content = layer(auroc, [float(place) for place in range(20)], [0], [True] * 20)
    parts = by_coherence(content, 0.9)
    assert parts["latents"].to_list() == [4] * 5 and parts["share"].to_list() == [0, 0, 0, 0, 1]
    assert parts["low"].to_list() == [0, 4, 8, 12, 16] and set(parts["layer"]) == {"early"}
    assert by_coherence(layer([0.5] * 3, [1.0] * 3, [0], [True] * 3), 0.9).height == 0


def test_a_nan_is_not_above_any_bar(tmp_path: Path) -> None:
    content = layer([float("nan"), 0.95, 0.5, 0.5], [1.0, float("nan"), 1.0, 1.0], [1], [True] * 4)
    assert choices(content, 0.9)[0].pool.count == 1
    assert judged(content, 0.9)["latent"].to_list() == [2, 3]
