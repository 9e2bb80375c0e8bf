"""Vectors of concepts from the residual stream, by the language pipeline's own ways, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from steerwright.vectors.estimators.registry import EstimatorName
from steerwright.vectors.language import (
    Contrast,
    Sides,
    contrast_sides,
    described_policy,
    mean_of_others,
    residual_vectors,
)
from steerwright.vectors.steering_vectors import SteeringVectors

if TYPE_CHECKING:
    from steerwright.models.language.load import LanguageModel
    from steerwright.prompts.concept_library import LibraryConcept


@dataclass(frozen=True, slots=True)
class Recipe:
    """How concepts' vectors are fitted, as params.yaml's `language` says for the pipeline."""

    contrast: Contrast = "requests"
    tokens: str = "last"
    centre: Literal["none", "others"] = "none"
    estimator: EstimatorName = "mean_difference"
    shuffles: int = 20

    @classmethod
    def of_params(cls, params: Mapping[str, Any]) -> Recipe:
        """That of a project's params.yaml; the usual one for what it does not say."""
        language = params.get("language") or {}
        vectors = language.get("vectors") or {}
        usual = cls()
        return cls(
            contrast=(language.get("activations") or {}).get("contrast", usual.contrast),
            tokens=vectors.get("tokens", usual.tokens),
            centre=vectors.get("centre", usual.centre),
            estimator=vectors.get("estimator", usual.estimator),
            shuffles=vectors.get("shuffles", usual.shuffles),
        )


def library_sides(model: LanguageModel, library: Mapping[str, LibraryConcept], recipe: Recipe) -> dict[str, Sides]:
    """Both sides of every concept's pairs, pooled as `recipe` says; a text that stands in several is read once."""
    pairs = {
        name: [{"id": f"{name}-{number}", **pair.model_dump()} for number, pair in enumerate(concept.pairs)]
        for name, concept in library.items()
    }
    content = {name: {"instruction": concept.instruction, "pairs": pairs[name]} for name, concept in library.items()}
    return contrast_sides(model, content, recipe.contrast, recipe.tokens)


def fit_library(model: LanguageModel, sides: Mapping[str, Sides], recipe: Recipe) -> dict[str, SteeringVectors]:
    """One vector for each concept and layer. Raises UserError for a concept whose sides do not differ."""
    apart = {name: positive.mean(1) - negative.mean(1) for name, (positive, negative) in sides.items()}
    return {
        name: residual_vectors(
            positive,
            negative,
            model.hookpoints,
            concept=name,
            model=model.fingerprint,
            estimator=recipe.estimator,
            policy=described_policy(recipe.contrast, recipe.tokens),
            others=mean_of_others(apart, name) if recipe.centre == "others" else None,
            shuffles=recipe.shuffles,
        )
        for name, (positive, negative) in sides.items()
    }
