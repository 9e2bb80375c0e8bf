"""What a concept's vector is like at each layer, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import polars as pl
import torch

from steerwright.errors import UserError
from steerwright.models.attention_blocks import AttentionBlock
from steerwright.vectors.steering_vectors import SteeringVectors, layer_number

# Below this a value counts as small, as in the published lab whose "sparsity" this is.
SMALL = 0.01


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """One layer's vector, as long as it is (unit times norm).

    `relative_norm`: `norm` in multiples of the residual stream's mean norm there, None where that is not known. `mean`,
    `std` (of a population), `low`, `high` are over its values; `small_share` is the share of these below 0.01 in
    size. `largest`: (dimension, value), the largest in size first.
    """

    layer: int
    norm: float
    relative_norm: float | None
    mean: float
    std: float
    low: float
    high: float
    small_share: float
    largest: tuple[tuple[int, float], ...]


def layer_statistics(
    vectors: SteeringVectors, residual_norms: Mapping[int, float] | None = None, *, dimensions: int = 5
) -> list[LayerStatistics]:
    """Statistics of each layer's vector, first layer first. `residual_norms`: mean norm of a token by layer.

    UserError for vectors that are not one direction per layer.
    """
    rows = {}
    for slot, direction in vectors.directions.items():
        layer = layer_number(slot.hookpoint)
        if layer is None or direction.per_position or layer in rows:
            raise UserError(f"The vectors for {vectors.concept!r} are not one direction per layer ({slot.hookpoint}).")
        raw = (direction.norm * direction.unit).double()
        norm, usual = float(direction.norm), (residual_norms or {}).get(layer)
        order = raw.abs().topk(min(dimensions, len(raw))).indices.tolist()
        rows[layer] = LayerStatistics(
            layer=layer,
            norm=norm,
            relative_norm=norm / usual if usual else None,
            mean=float(raw.mean()),
            std=float(raw.std(correction=0)),
            low=float(raw.min()),
            high=float(raw.max()),
            small_share=float((raw.abs() < SMALL).double().mean()),
            largest=tuple((index, float(raw[index])) for index in order),
        )
    return [rows[layer] for layer in sorted(rows)]


# How vectors lie over blocks and steps: lengths, and how alike neighbours in time are.

SCHEMA = {
    "block": pl.String, "place": pl.String, "attention": pl.String, "branch": pl.String, "step_first": pl.Int64,
    "step_last": pl.Int64, "norm": pl.Float64, "control": pl.Float64, "noise": pl.Boolean, "cosine_next": pl.Float64,
    "cosine_mean": pl.Float64,
}  # fmt: skip


def vectors_table(vectors: SteeringVectors, blocks: Sequence[AttentionBlock]) -> pl.DataFrame:
    """One row per vector of a block: its norm, its control's, and two cosines, to the next and to the mean over time.

    Columns as in `SCHEMA`; `cosine_next` is null for the last step, `control` and `noise` where that was not measured.
    Steps of a block are in order. Vectors at other hookpoints are left out.
    """
    rows = []
    for block in blocks:
        for branch in sorted({slot.branch or "" for slot in vectors.directions if slot.hookpoint == block.hookpoint}):
            slots = sorted(
                (s for s in vectors.directions if s.hookpoint == block.hookpoint and (s.branch or "") == branch),
                key=lambda slot: slot.steps or (0, 0),
            )
            units = torch.stack([vectors.directions[slot].unit.double() for slot in slots])
            mean = units.mean(0)
            to_mean = (units @ (mean / mean.norm().clamp(min=torch.finfo(mean.dtype).tiny))).tolist()
            to_next: list[float | None] = [float(a @ b) for a, b in pairwise(units)]
            to_next.append(None)
            for slot, along, following in zip(slots, to_mean, to_next, strict=True):
                first, last = slot.steps or (0, len(vectors.timesteps or (0,)) - 1)
                rows.append(
                    {
                        "block": block.name, "place": block.place, "attention": block.attention, "branch": branch,
                        "step_first": first, "step_last": last, "norm": float(vectors.directions[slot].norm),
                        "control": vectors.controls.get(slot), "noise": vectors.noise_mark(slot),
                        "cosine_next": following, "cosine_mean": along,
                    }
                )  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA)
