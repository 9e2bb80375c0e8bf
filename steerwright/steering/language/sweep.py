"""Texts over a grid of strengths at one layer: every layer of a sweep is steered by its own direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.language.load import LanguageModel
from steerwright.steering.algebra import Edit
from steerwright.steering.language.edits import Alternation, TextUnits, text_edits
from steerwright.steering.language.generate import Completion, Sampling, complete
from steerwright.vectors.steering_vectors import SteeringVectors, layer_number

# Rows that a model writes at once: strengths and prompts share batches, so that small prompt sets cost no more.
ROWS = 192
SEEDS_APART = 100_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SteeringWay:
    """How strengths count (`units`), which tokens are steered, and how far each may be moved; see `text_edits`.

    Concepts that take turns (`Turns`) steer sentences of their own, whatever `tokens` says.
    """

    units: TextUnits = "relative"
    tokens: str = "last"
    bound: str = "none"

    def add(
        self, vectors: SteeringVectors | Alternation, layers: Sequence[int], strength: float | Tensor
    ) -> list[Edit]:
        """The edits that add `vectors` at `layers`; `strength` is one number, or one per row [rows]."""
        if isinstance(vectors, Alternation):
            return vectors.edits(layers, strength, units=self.units, bound=self.bound)
        return text_edits(vectors, layers, strength, units=self.units, tokens=self.tokens, bound=self.bound)


def asked_with_seeds(prompts: Sequence[T], seeds: Sequence[int]) -> list[tuple[T, int]]:
    """Every prompt with every seed, as the number that its texts are drawn with: 100,000 times the seed, and its place.

    So no two prompts share their chance, which would make their texts begin alike, and every condition has the same.
    """
    return [(prompt, SEEDS_APART * seed + place) for place, prompt in enumerate(prompts) for seed in seeds]


def sweep_layer(
    model: LanguageModel,
    vectors: SteeringVectors | Alternation,
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


def sweep_layers(vectors: SteeringVectors | Alternation, layers: Sequence[int] | None) -> list[int]:
    """The layers to sweep, None for all that `vectors` has; UserError for one that it has not."""
    if layers is not None:
        for part in vectors.parts.values() if isinstance(vectors, Alternation) else (vectors,):
            part.at_layers(list(layers))
        return list(layers)
    return sorted({number for hookpoint in vectors.hookpoints if (number := layer_number(hookpoint)) is not None})
