"""A concept as the lab lists it, and how its vectors are fitted from contrast pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from steerkit.vectors.residual_vectors import residual_vectors
from steerkit.vectors.steering_vectors import SteeringVectors

if TYPE_CHECKING:
    from steerkit.models.language.load import LanguageModel

Origin = Literal["built-in", "yours"]
POLICY = "content"
"""Which tokens of an answer are looked at where nobody says: the mean over all of its own."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one request: with the concept, and the same without it."""

    prompt: str
    positive: str
    negative: str


@dataclass(frozen=True, slots=True, eq=False)
class ConceptEntry:
    """A concept that can be steered with: its vectors at every layer, and where and how far they work well.

    `factor` is what it is a value of (emotion, style, ...), None for a visitor's own. `layer` and `strength` (in shares
    of a token's norm) are what the page sets first; `safe` is the range of strengths in which texts stay coherent at
    that layer, None where nobody measured it. `instruction` is how a prompt would ask for it.
    """

    name: str
    factor: str | None
    origin: Origin
    vectors: SteeringVectors
    layer: int
    strength: float
    safe: tuple[float, float] | None = None
    pairs: tuple[Pair, ...] = ()
    instruction: str | None = None


def fit_concepts(
    model: LanguageModel, pairs: Mapping[str, Sequence[Pair]], policy: str = POLICY
) -> dict[str, SteeringVectors]:
    """Vectors at every layer for each concept: the mean of its positive answers minus that of its negative ones.

    All texts go through the model together, each as the answer to its pair's prompt. `policy` says which of their
    tokens count: last, content, or span:START:STOP. Raises UserError for a concept whose pairs do not differ.
    """
    from steerkit.activations.residuals import pooled_residuals

    flat = [pair for several in pairs.values() for pair in several]
    prompts = [pair.prompt for pair in flat]
    texts = [pair.positive for pair in flat] + [pair.negative for pair in flat]
    # By length, so that the texts of a batch need little padding.
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]) + len(prompts[row % len(flat)]))
    sorted_prompts = [prompts[row % len(flat)] for row in order]
    found_pooled = pooled_residuals(
        model, [texts[row] for row in order], sorted_prompts, role="assistant", policy=policy
    )
    pooled = found_pooled[:, torch.tensor(order).argsort()]
    found = {}
    start = 0
    for name, several in pairs.items():
        rows = slice(start, start + len(several))
        found[name] = residual_vectors(
            pooled[:, : len(flat)][:, rows],
            pooled[:, len(flat) :][:, rows],
            model.hookpoints,
            concept=name,
            model=model.fingerprint,
            policy=policy,
        )
        start = rows.stop
    return found
