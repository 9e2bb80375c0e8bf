"""Which latents are steered: the selected ones that rank first, and some that stand for labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def chosen_latents(selected: pl.DataFrame, labels: pl.DataFrame, count: int, axes: Mapping[str, int]) -> list[int]:
    """The first `count` of `selected`, then for each label of `axes` so many latents with the largest areas, each once.

    `labels` is the frame of `label_matches`; without rows (no truth is known) the selected ones are all.
    """
    import polars as pl

    found = selected.sort("rank")["latent"].to_list()[:count]
    for axis, candidates in axes.items():
        known = labels.filter(pl.col("auroc").is_not_null(), label=axis)
        found += known.sort(["auroc", "latent"], descending=[True, False])["latent"].to_list()[:candidates]
    return list(dict.fromkeys(found))


def best_by_gain(trials: pl.DataFrame, labels: pl.DataFrame, first: int, axes: Mapping[str, int]) -> list[int]:
    """Of the latents that were tried: the `first` ones, then for each label of `axes` the one that does most.

    A latent may pick a label out perfectly and do nothing for it when it is steered. So among those that stand for a
    label the one counts whose kept demos gain most of what its own pictures have in common (mean `concept_gain`).
    """
    import polars as pl

    tried = trials["latent"].unique(maintain_order=True).to_list()
    gains = dict(trials.filter("kept").group_by("latent").agg(pl.col("concept_gain").mean()).iter_rows())
    found = tried[:first]
    for axis in axes:
        mine = [latent for latent in tried if (own := label_of(labels, latent)) is not None and own[0] == axis]
        found += sorted(mine, key=lambda latent: (-gains.get(latent, float("-inf")), latent))[:1]
    return list(dict.fromkeys(found))


def label_of(labels: pl.DataFrame, latent: int) -> tuple[str, str] | None:
    """The label and value that a latent matches best; None where that is not known."""
    for label, value in labels.filter(latent=latent).select("label", "value").iter_rows():
        return (str(label), str(value)) if label is not None else None
    return None
