"""Choosing latents: how many, which, in which order."""

import logging

import numpy as np
import polars as pl
import pytest
import torch

from steerwright.concepts.scores import ConceptMoments
from steerwright.concepts.select_latents import percentile_count, select_latents
from steerwright.errors import UserError


def moments_with(scores: torch.Tensor) -> ConceptMoments:
    """Moments whose mean differences are `scores` [n]."""
    moments = ConceptMoments.empty(("object:cat", "object:horse"), (0,), len(scores))
    means = torch.stack([scores, torch.zeros_like(scores)]).double().unsqueeze(1).expand(-1, 2, -1)
    moments.add(torch.tensor([0, 1]), means, torch.ones(2, 2, dtype=torch.bool))
    return moments


def table_with(auroc: list[float], keep: int) -> pl.DataFrame:
    count = len(auroc)
    return pl.DataFrame(
        {
            "sae": "mid", "concept": "object:cat", "step": [3] * count, "latent": range(count), "mean": auroc,
            "mean_others": [1.0] * count, "share_difference": auroc, "auroc": auroc, "cohens_d": auroc, "keep": keep,
        }
    )  # fmt: skip


def test_top_n_are_n_the_best_first_and_ties_by_index() -> None:
    moments = moments_with(torch.tensor([0.5, 2.0, 0.0, 2.0, -1.0, 0.5]))
    for top in range(7):
        assert select_latents(moments, "object:cat", 0, "mean_difference", top=top) == [1, 3, 0, 5, 2, 4][:top]
    table = table_with([0.5, 0.9, 0.7, 0.9], keep=4)
    assert select_latents(table, "object:cat", 3, "auroc", top=3) == [1, 3, 2]
    assert select_latents(table, "object:cat", 3, "mean_difference", top=4) == [1, 3, 2, 0]


@pytest.mark.parametrize(("size", "percentile", "count"),
    [(20480, 99.99, 3), (20480, 99.995, 2), (20480, 99.999, 1), (40960, 99.99, 5), (40960, 99.995, 3)],
)  # fmt: skip
def test_percentiles_are_the_numbers_that_were_published(
    size: int, percentile: float, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    scores = torch.rand(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # The definition, by another library: strictly above the linearly interpolated quantile.
    assert int((scores.numpy() > np.quantile(scores.numpy(), percentile / 100)).sum()) == count
    assert percentile_count(scores, percentile) == count
    moments = moments_with(scores)
    with caplog.at_level(logging.INFO, logger="steerwright.concepts"):
        chosen = select_latents(moments, "object:cat", 0, "mean_difference", percentile=percentile)
    assert chosen == select_latents(moments, "object:cat", 0, "mean_difference", top=count)
    assert f"percentile {percentile} at step 0 selects {count} of {size} latents for object:cat" in caplog.text


def test_percentiles_of_ties_and_infinities() -> None:
    scores = torch.tensor([0.0, 0.0, 0.0, 1.0])
    assert percentile_count(scores, 50) == 1  # the quantile is 0, and three are not above it
    assert percentile_count(scores, 100) == 0
    assert percentile_count(torch.tensor([0.0, torch.inf, torch.inf]), 75) == 0
    assert percentile_count(torch.tensor([0.0, torch.inf, torch.inf]), 0) == 2
    with pytest.raises(UserError, match="between 0 and 100"):
        percentile_count(scores, 101)


def test_more_than_there_are_is_said() -> None:
    with pytest.raises(UserError, match="There are 3 latents; 4 cannot be chosen"):
        select_latents(moments_with(torch.ones(3)), "object:cat", 0, top=4)
    # Four rows, because other scores kept others; by one score two are known to be the best.
    with pytest.raises(
        UserError, match=r"keeps the 2 best latents of object:cat by auroc at step 3, not 3; raise `keep`"
    ):
        select_latents(table_with([0.5, 0.9, 0.7, 0.9], keep=2), "object:cat", 3, "auroc", top=3)


def test_what_is_asked_for_must_be_there() -> None:
    table, moments = table_with([0.5], keep=1), moments_with(torch.ones(3))
    with pytest.raises(ValueError, match="either top or percentile"):
        select_latents(moments, "object:cat", 0)
    with pytest.raises(ValueError, match="either top or percentile"):
        select_latents(moments, "object:cat", 0, top=1, percentile=99)
    with pytest.raises(UserError, match=r"concepts\.parquet holds the best only: give top"):
        select_latents(table, "object:cat", 3, percentile=99)
    with pytest.raises(UserError, match="Moments do not hold ranks"):
        select_latents(moments, "object:cat", 0, "auroc", top=1)
    with pytest.raises(UserError, match="no concept 'object:dog' in the table; there are object:cat"):
        select_latents(table, "object:dog", 3, top=1)
    with pytest.raises(
        UserError, match="keeps the 0 best latents of object:cat by share_difference at all steps pooled"
    ):
        select_latents(table, "object:cat", None, top=1)
    with pytest.raises(ValueError, match="filter by one"):
        select_latents(pl.concat([table, table.with_columns(sae=pl.lit("up"))]), "object:cat", 3, top=1)
