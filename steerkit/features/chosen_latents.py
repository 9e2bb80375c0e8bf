"""Which latents are steered: the selected ones that rank first, and the best one that stands for some label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def chosen_latents(selected: pl.DataFrame, labels: pl.DataFrame, count: int, axes: Sequence[str]) -> list[int]:
    """The first `count` of `selected`, then for each label of `axes` the latent with the largest area, each once.

    `labels` is the frame of `label_matches`; without rows (no truth is known) the selected ones are all.
    """
    import polars as pl

    found = selected.sort("rank")["latent"].to_list()[:count]
    for axis in axes:
        known = labels.filter(pl.col("auroc").is_not_null(), label=axis)
        found += known.sort(["auroc", "latent"], descending=[True, False])["latent"].to_list()[:1]
    return list(dict.fromkeys(found))


def label_of(labels: pl.DataFrame, latent: int) -> tuple[str, str] | None:
    """The label and value that a latent matches best; None where that is not known."""
    for label, value in labels.filter(latent=latent).select("label", "value").iter_rows():
        return (str(label), str(value)) if label is not None else None
    return None
