"""What CLIP says of pictures and a target: how near they are to it, and whether they show what no label shows."""

from typing import Any

import torch
from torch import Tensor

from steerkit.scoring.clip import ClipScorer
from steerkit.scoring.target import ShownConcept, Target, column
from steerkit.scoring.zero_shot_labels import CONCEPTS


def target_columns(clip: ClipScorer, images: Tensor, target: Target) -> dict[str, Any]:
    """Columns for image embeddings [n, e]: KEY_similarity and KEY_margin, of several concepts the least.

    Similarity: cosine to the concept's phrases. Margin: less the largest cosine to its label's other values, or to the
    phrases without it. Of a concept that no label shows also its column: whether the phrases with it are nearer.
    """
    similarities, margins = [], []
    shown: dict[str, Any] = {}
    for name, concept in target.concepts.items():
        asked, value = _phrases(concept)
        similarities.append(clip.concept_similarity(images, asked[value]))
        margins.append(clip.concept_margin(images, value, asked))
        if concept.label is None:
            shown[column(name)] = (margins[-1] > 0).tolist()
    return {
        **shown,
        f"{target.key}_similarity": torch.stack(similarities).amin(0).tolist(),
        f"{target.key}_margin": torch.stack(margins).amin(0).tolist(),
    }


def _phrases(concept: ShownConcept) -> tuple[dict[str, tuple[str, ...]], str]:
    """Phrases of the concept and of what it is told from, and the name of the concept among them."""
    if concept.phrases:
        return {"with": concept.phrases, "without": concept.other_phrases or ("a photo",)}, "with"
    assert concept.label is not None and concept.value is not None, "checked by the model"
    return CONCEPTS[concept.label], concept.value
