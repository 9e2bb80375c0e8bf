"""Both sides of concepts' contrast pairs as a language model reads them, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steerkit.activations.pooled_once import pooled_once
from steerkit.models.language.load import LanguageModel
from steerkit.prompts.concept_contrasts import Contrast, Sides, contrast_texts, pair_sides, role_of


def contrast_sides(
    model: LanguageModel,
    concepts: Mapping[str, Mapping[str, Any]],
    contrast: Contrast,
    tokens: str,
    *,
    batch_size: int = 32,
) -> dict[str, Sides]:
    """By concept, the rows of both sides of its pairs; `concepts` as in pairs.json, `tokens` as `pooled_residuals`."""
    texts = contrast_texts(concepts, contrast)
    rows = pooled_once(model, list(texts.values()), role_of(contrast), tokens, batch_size=batch_size)
    return pair_sides(rows, texts, concepts)
