"""What a concept's vector is like at each layer, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steerkit.errors import UserError
from steerkit.vectors.steering_vectors import SteeringVectors, layer_number

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
