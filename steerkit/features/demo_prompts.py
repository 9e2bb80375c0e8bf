"""Prompts on which a latent is tried: those that leave unsaid what it stands for, so that steering can say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from steerkit.features.steered_pictures import Ask
from steerkit.prompts.suite import evenly

if TYPE_CHECKING:
    import polars as pl


Half = Literal["choose", "score"]


def neutral_asks(prompts: pl.DataFrame, label: str | None, count: int, half: Half | None = None) -> list[Ask]:
    """`count` of the `prompts`, evenly over those that do not say `label`; over all where each says it or none can.

    `half`: only every other one of them. What is chosen on the one half can be scored on the other.
    """
    import polars as pl

    silent = prompts.filter(pl.col(label).is_null()) if label in prompts.columns else prompts
    rows = (silent if silent.height else prompts).select("id", "prompt", "seed").to_dicts()
    if half is not None:
        rows = rows[half == "score" :: 2]
    return [Ask(**row) for row in evenly(rows, min(count, len(rows)))]
