"""How well an autoencoder does on rows that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from steerwright.activations.store.shuffle import RowBatch
from steerwright.sae.sae import Sae

if TYPE_CHECKING:
    import polars as pl


ROWS_AT_ONCE = 4096


class RowsOfSteps(Protocol):
    """A batch as the loader gives it: `rows` [batch, d], and `step` int64 [batch], -1 where there is none."""

    @property
    def rows(self) -> Tensor: ...

    @property
    def step(self) -> Tensor: ...


@dataclass(frozen=True, slots=True, eq=False)
class SaeMetrics:
    """Measurements over `rows` rows."""

    fvu: float
    """Fraction of variance unexplained: the reconstruction error's variance over the rows' variance, each taken about
    its mean in every dimension and summed over dimensions: 1 - scikit-learn's explained_variance_score, weighted by
    variance. NaN for rows that do not vary."""
    l0: float
    """Mean number of latents above 0 (or below, where latents have signs) in a row."""
    dead_share: float
    """Share of latents active in none of the rows."""
    density: Tensor
    """Share of the rows in which each latent is active: float64 [n], on the CPU."""
    fvu_by_step: dict[int, float]
    """FVU of the rows of each denoising step, against that step's own mean; rows without a step are left out."""
    rows: int


class UnexplainedVariance:
    """Streamed sums, in float64, of rows [rows, d] and of what their reconstruction misses.

    Rows are summed less the first batch's mean, so that squares of a mean far from 0 do not drown their variance.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._shift: Tensor | None = None
        self._sums: list[Tensor] = []

    def add(self, rows: Float[Tensor, "rows d"], reconstruction: Float[Tensor, "rows d"]) -> None:
        """Counts rows in; both [rows, d]."""
        rows, error = rows.double(), rows.double() - reconstruction.double()
        if self._shift is None:
            self._shift = rows.mean(0)
        centred = rows - self._shift
        sums = [x.sum(0) for x in (centred, centred.square(), error, error.square())]
        self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)] if self._sums else sums
        self.rows += len(rows)

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained so far."""
        if not self.rows:
            return float("nan")
        total, squares, error, error_squares = self._sums
        variance = (squares - total.square() / self.rows).sum()
        return float((error_squares - error.square() / self.rows).sum() / variance) if variance > 0 else float("nan")


@torch.no_grad()
def evaluate(sae: Sae, batches: Iterable[RowsOfSteps]) -> SaeMetrics:
    """Measures `sae` on every row of `batches`, which are taken one at a time, on the autoencoder's device."""
    device = sae.encoder.device
    fired = torch.zeros(sae.size, dtype=torch.int64, device=device)
    whole, by_step = UnexplainedVariance(), dict[int, UnexplainedVariance]()
    for batch in batches:
        for rows, steps in zip(batch.rows.split(ROWS_AT_ONCE), batch.step.split(ROWS_AT_ONCE), strict=True):
            rows, steps = rows.to(device), steps.to(device)
            latents, reconstruction = sae.reconstruct(rows)
            fired += torch.bincount(latents.indices[latents.used], minlength=sae.size)
            whole.add(rows, reconstruction)
            for step in steps.unique().tolist():
                if step >= 0:
                    its = steps == step
                    by_step.setdefault(step, UnexplainedVariance()).add(rows[its], reconstruction[its])
    count = max(1, whole.rows)
    return SaeMetrics(
        fvu=whole.fvu,
        l0=float(fired.sum()) / count,
        dead_share=float((fired == 0).double().mean()),
        density=(fired.double() / count).cpu(),
        fvu_by_step={step: by_step[step].fvu for step in sorted(by_step)},
        rows=whole.rows,
    )


# How good autoencoders are on held-out prompts, as one long table.

DENSITY_EDGES = [-7 + step / 4 for step in range(29)]
"""Powers of ten between which latents are counted by the share of rows on which they are active."""


def quality_table(saes: Mapping[str, tuple[Sae, Iterable[RowBatch]]]) -> pl.DataFrame:
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
