"""Texts over a grid of strengths at one layer: every layer of a sweep is steered by its own direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steerkit.errors import UserError
from steerkit.models.language.generate import Completion, Sampling, complete
from steerkit.models.language.load import LanguageModel
from steerkit.steering.edit import Edit
from steerkit.steering.language.text_edits import TextUnits, text_edits
from steerkit.vectors.steering_vectors import SteeringVectors, layer_number

# Rows that a model writes at once: strengths and prompts share batches, so that small prompt sets cost no more.
ROWS = 192


@dataclass(frozen=True, slots=True)
class SteeringWay:
    """How strengths count (`units`), which tokens are steered, and how far each may be moved; see `text_edits`."""

    units: TextUnits = "relative"
    tokens: str = "last"
    bound: str = "none"

    def add(self, vectors: SteeringVectors, layers: Sequence[int], strength: float | Tensor) -> list[Edit]:
        """The edits that add `vectors` at `layers`; `strength` is one number, or one per row [rows]."""
        return text_edits(vectors, layers, strength, units=self.units, tokens=self.tokens, bound=self.bound)


def sweep_layer(
    model: LanguageModel,
    vectors: SteeringVectors,
    layer: int,
    strengths: Sequence[float],
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    way: SteeringWay,
    *,
    should_stop: Callable[[], bool] | None = None,
    rows: int = ROWS,
) -> dict[float, list[Completion]]:
    """The answers to `prompts` (each with its own seed) at each of `strengths`, all of `vectors`' direction at `layer`.

    All strengths share the noise of a prompt's seed. Cut short where `should_stop` says so: the strengths that are
    whole come back. Raises UserError for a layer that the vectors lack, or strengths that are none or stand twice.
    """
    if not strengths or len(set(strengths)) != len(strengths):
        raise UserError(f"A sweep needs strengths, each once; found {list(strengths)}.")
    count = len(prompts)
    each = torch.tensor([float(strength) for strength in strengths for _ in prompts])
    found = complete(
        model, list(prompts) * len(strengths), list(seeds) * len(strengths), sampling, way.add(vectors, [layer], each),
        should_stop=should_stop, batch_size=rows,
    )  # fmt: skip
    if should_stop is not None and should_stop():
        return {}
    return {strength: found[place * count : (place + 1) * count] for place, strength in enumerate(strengths)}


def sweep_layers(vectors: SteeringVectors, layers: Sequence[int] | None) -> list[int]:
    """The layers to sweep, None for all that `vectors` has; UserError for one that it has not."""
    if layers is not None:
        vectors.at_layers(list(layers))
        return list(layers)
    return sorted({number for hookpoint in vectors.hookpoints if (number := layer_number(hookpoint)) is not None})
