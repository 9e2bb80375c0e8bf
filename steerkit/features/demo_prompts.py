"""Prompts on which a latent is tried: those that leave unsaid what it stands for, so that steering can say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steerkit.features.steered_pictures import Ask
from steerkit.prompts.suite import evenly

if TYPE_CHECKING:
    import polars as pl


def neutral_asks(prompts: pl.DataFrame, label: str | None, count: int) -> list[Ask]:
    """`count` of the `prompts`, evenly over those that do not say `label`; over all where each says it or none can."""
    import polars as pl

    silent = prompts.filter(pl.col(label).is_null()) if label in prompts.columns else prompts
    rows = (silent if silent.height else prompts).select("id", "prompt", "seed").to_dicts()
    return [Ask(**row) for row in evenly(rows, min(count, len(rows)))]
