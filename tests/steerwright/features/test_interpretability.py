"""What a choice of latents is worth against a random one, by counting choices."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from steerwright.features.truth import area_by_score, interpretability


def frames(areas: list[float | None], z: list[float | None]) -> tuple[pl.DataFrame, pl.DataFrame]:
    numbers = list(range(len(areas)))
    labels = pl.DataFrame({"latent": numbers, "auroc": areas, "shuffled": [0.6] * len(areas)})
    return labels, pl.DataFrame({"latent": numbers, "z": pl.Series(z, dtype=pl.Float64)})


def test_the_share_is_set_against_all_choices_of_as_many() -> None:
    areas: list[float | None] = [0.95, 0.92, 0.91, 0.6, 0.55, 0.7, 0.8, 0.5, None, 0.99]
    z: list[float | None] = [5, 4, 3, 2.5, 2, 1.5, 1, 0, 6, None]
    found = interpretability(*frames(areas, z), selected=[0, 1, 3])
    # Latents 8 and 9 are not eligible: one matches nothing, one has no coherence.
    assert found.eligible == 8 and found.eligible_share == 3 / 8
    assert found.selected == 3 and found.share == pytest.approx(2 / 3)
    hits = np.array([sum(areas[latent] >= 0.9 for latent in chosen) for chosen in combinations(range(8), 3)])  # type: ignore[operator]
    assert found.p_value == pytest.approx((hits >= 2).mean())
    assert (found.random_low, found.random_high) == (np.sort(hits)[1] / 3, np.sort(hits)[-1 - 1] / 3)
    assert found.shuffled_share == 0
    assert found.rank_correlation == pytest.approx(spearmanr(z[:8], areas[:8]).statistic)
    assert found.correlation_low <= found.rank_correlation <= found.correlation_high


def test_the_interval_of_the_rank_correlation_covers_the_true_one() -> None:
    random = np.random.default_rng(0)
    shared = random.normal(size=(60, 200))
    z = shared + random.normal(size=(60, 200))
    areas = shared + random.normal(size=(60, 200))  # a correlation of 1/2, of ranks 6 / pi asin(1/4)
    true = 6 / np.pi * np.arcsin(0.25)
    covered = 0
    for row in range(60):
        found = interpretability(*frames(areas[row].tolist(), z[row].tolist()), selected=[0], resamples=200)
        covered += found.correlation_low <= true <= found.correlation_high
    assert covered >= 51  # of 60 at 95 %: 57, less three standard deviations


def test_groups_by_score_hold_all_eligible_latents_in_order() -> None:
    random = np.random.default_rng(1)
    z = random.normal(size=103)
    areas = np.where(z > 0.5, 0.95, 0.6)
    table = area_by_score(*frames(areas.tolist(), z.tolist()), groups=10)
    assert table["latents"].sum() == 103 and len(table) == 10
    assert table["low"].is_sorted() and (table["high"][:-1] <= table["low"][1:]).all()
    assert (table["share"] * table["latents"]).sum() == pytest.approx((z > 0.5).sum())
    assert table["share"][0] == 0 and table["share"][9] == 1 and 0 < table["share_low"][9] < 1
    # Wilson's interval of 0 of 11: from 0 to z^2 / (n + z^2).
    assert table["share_high"][0] == pytest.approx(1.96**2 / (11 + 1.96**2), abs=1e-3)


def test_a_selection_that_is_not_among_the_latents_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the selected"):
        interpretability(*frames([0.5, 0.6], [1.0, 2.0]), selected=[7])
