"""Directions along which a concept is taken out of what a model writes although its prompt asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steerkit.models.language.load import LanguageModel
from steerkit.prompts.concept_contrasts import described_policy
from steerkit.vectors.contrast_sides import contrast_sides
from steerkit.vectors.estimator import EstimatorName
from steerkit.vectors.residual_vectors import residual_vectors
from steerkit.vectors.steering_vectors import SteeringVectors


def removal_vectors(
    model: LanguageModel,
    concepts: Mapping[str, Mapping[str, Any]],
    *,
    tokens: str = "content",
    estimator: EstimatorName = "mean_difference",
    shuffles: int = 0,
    batch_size: int = 32,
) -> dict[str, SteeringVectors]:
    """One direction per concept and layer: what the words that ask for it change in the tokens of a plain answer.

    `concepts` as in pairs.json. A concept's own vector says what it takes to begin a text that shows it; this one says
    what the request does to every token that is written, and its origin is where the tokens of plain answers lie. So
    projecting it out at all layers leaves the answer to the plain request. `tokens`: which of an answer's are looked at
    (content, last, span:START:STOP). Raises UserError where no vector can be fitted, as `residual_vectors` does.
    """
    sides = contrast_sides(model, concepts, "instructed", tokens, batch_size=batch_size)
    return {
        name: residual_vectors(
            positive, negative, model.hookpoints, concept=name, model=model.fingerprint, estimator=estimator,
            policy=described_policy("instructed", tokens), shuffles=shuffles,
        )
        for name, (positive, negative) in sides.items()
    }  # fmt: skip
