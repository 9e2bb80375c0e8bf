"""How good autoencoders are on held-out prompts, as one long table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from steerkit.activations.shuffle_pool import Batch
from steerkit.sae.metrics import SaeMetrics, evaluate
from steerkit.sae.sae import Sae

if TYPE_CHECKING:
    import polars as pl

DENSITY_EDGES = [-7 + step / 4 for step in range(29)]
"""Powers of ten between which latents are counted by the share of rows on which they are active."""


def quality_table(saes: Mapping[str, tuple[Sae, Iterable[Batch]]]) -> pl.DataFrame:
    """Measurements of each autoencoder on its held-out rows, long: sae, measure, step, low, high, value.

    Measures: `fvu`, `l0`, `dead_share` (latents that were active on none of the rows), one number each, and `fvu` at
    each denoising step; `density`, the number of latents that are active on a share of rows in [10^low, 10^high).
    """
    import polars as pl

    kinds = {
        "sae": pl.String, "measure": pl.String, "step": pl.Int64,
        "low": pl.Float64, "high": pl.Float64, "value": pl.Float64,
    }  # fmt: skip
    rows: list[tuple[str, str, int | None, float | None, float | None, float]] = []
    for name, (sae, batches) in saes.items():
        found = evaluate(sae, batches)
        for measure in ("fvu", "l0", "dead_share"):
            rows.append((name, measure, None, None, None, float(getattr(found, measure))))
        rows += [(name, "fvu", int(step), None, None, float(fvu)) for step, fvu in sorted(found.fvu_by_step.items())]
        rows += [(name, "density", None, low, high, count) for low, high, count in _histogram(found)]
    return pl.DataFrame(rows, schema=kinds, orient="row")


def _histogram(found: SaeMetrics) -> list[tuple[float, float, float]]:
    density = np.asarray(found.density, dtype=np.float64)
    # The last edge is that of latents which are active on every row.
    places = np.clip(np.log10(density[density > 0]), DENSITY_EDGES[0], np.nextafter(DENSITY_EDGES[-1], -1))
    counts, _ = np.histogram(places, DENSITY_EDGES)
    return [
        (low, high, float(count)) for low, high, count in zip(DENSITY_EDGES, DENSITY_EDGES[1:], counts, strict=False)
    ]
