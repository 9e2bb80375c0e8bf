"""How an unsteered model reads a concept out of texts: along its own direction between the concept's two sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from steerkit.lab.concepts import ConceptEntry
from steerkit.vectors.mean_difference import mean_difference

if TYPE_CHECKING:
    from steerkit.models.language.load import LanguageModel


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A line through the residual stream after `layer`: at `start` lie answers without the concept, `length` further
    along `unit` [d] those with it."""

    layer: int
    unit: Tensor
    start: float
    length: float

    def shares(self, rows: Tensor) -> list[float]:
        """Where `rows` [n, d] lie between the two, from 0 to 1."""
        found = (rows @ self.unit - self.start) / self.length
        return [float(value) for value in found.clamp(0, 1)]


def reading_of(model: LanguageModel, entry: ConceptEntry) -> Reading | None:
    """Fit it from the entry's answers; None where it has none. Late in the model, where what is said is settled."""
    if not entry.pairs:
        return None
    layer = 3 * model.layers // 4
    prompts = [pair.prompt for pair in entry.pairs]
    above = read_answers(model, [pair.positive for pair in entry.pairs], prompts)[layer]
    below = read_answers(model, [pair.negative for pair in entry.pairs], prompts)[layer]
    try:
        direction = mean_difference(above, below)
    except ValueError:  # both sides read the same
        return None
    return Reading(layer, direction.unit, float(below.mean(0) @ direction.unit), float(direction.norm))


def read_answers(model: LanguageModel, texts: Sequence[str], prompts: Sequence[str]) -> Tensor:
    """The mean residual stream over each answer's own tokens: float32 [layers, n, d], unsteered."""
    from steerkit.activations.residuals import pooled_residuals

    with torch.inference_mode():
        return pooled_residuals(model, texts, prompts, role="assistant", policy="content").float().cpu()
