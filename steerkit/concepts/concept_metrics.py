"""How well concepts are carried by single latents, in a few numbers."""

from __future__ import annotations

from typing import Any

import polars as pl

SIGNIFICANT = 0.05


def concept_metrics(table: pl.DataFrame, probe: pl.DataFrame) -> dict[str, Any]:
    """By autoencoder, all steps pooled: `best_auroc` of each concept, their mean, and `significant`, the share of
    concepts with a latent whose q-value is at most 0.05 (of the kept ones). These are of the training images, where the
    best latent is chosen; `validation` has the mean AUROC of that latent and of the probe on the others. null where
    nothing is defined."""
    found: dict[str, Any] = {}
    for sae in table["sae"].unique(maintain_order=True):
        best = (
            table.filter(pl.col("sae") == sae, pl.col("step").is_null())
            .group_by("concept", maintain_order=True)
            .agg(pl.col("auroc").max(), (pl.col("q_value").min() <= SIGNIFICANT).alias("significant"))
            .drop_nulls("auroc")
        )
        here = probe.filter(pl.col("sae") == sae)
        found[sae] = {
            "best_auroc": dict(best.select("concept", pl.col("auroc").round(4)).iter_rows()),
            "mean_best_auroc": _rounded(best["auroc"].mean()),
            "significant": _rounded(best["significant"].mean()),
            "validation": {
                "latent_auroc": _rounded(here["latent_auroc"].mean()),
                "probe_auroc": _rounded(here["probe_auroc"].mean()),
            },
        }
    return found


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)
