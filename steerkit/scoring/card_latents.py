"""Which latents are shown one by one: the best few of every concept that is erased."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from steerkit.errors import UserError
from steerkit.scoring.erasure_target import ErasureTarget
from steerkit.scoring.unlearning_questions import STEERED

RANK = "cohens_d"
SCORES = ("auroc", "cohens_d", "share_difference", "q_value", "stability")


def card_latents(
    concepts: pl.DataFrame, chosen: Mapping[str, Mapping[str, Mapping[str, Any]]], count: int
) -> pl.DataFrame:
    """The `count` best latents of each concept in `chosen` (target -> method -> operating point), all steps pooled.

    Best by the score that our method's operating point ranks by (recipe's `rank`), in the autoencoders that it edits
    (recipe's `places`; all where it names none), each latent once for each concept. Columns: those of `concepts`
    but step, and `rank_by`. Raises UserError where `concepts` knows none of a concept's latents.
    """
    tables = []
    for target, methods in chosen.items():
        recipe = methods.get(STEERED, {}).get("recipe") or {}
        by = recipe.get("rank") or RANK
        by = by if by in concepts.columns else RANK
        places = recipe.get("places") or concepts["sae"].unique().to_list()
        for axis, value in ErasureTarget.parse(target).concepts:
            name = f"{axis}:{value}"
            mine = concepts.filter(
                pl.col("step").is_null(), pl.col("sae").is_in(list(places)), pl.col(by).is_not_null(), concept=name
            )
            if mine.height == 0:
                raise UserError(
                    f"The table of concepts has no latents of {name}, all steps pooled; map concepts again."
                )
            best = mine.sort([by, "sae", "latent"], descending=[True, False, False]).head(count)
            tables.append(best.drop("step").with_columns(pl.lit(by).alias("rank_by")))
    if not tables:
        raise UserError("No concept was chosen to be erased, so there are no latents to show.")
    return pl.concat(tables).unique(["sae", "concept", "latent"], keep="first", maintain_order=True)
