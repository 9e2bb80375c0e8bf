"""Does a picture show a concept? By CLIP, for tuning and as one of two judges of the result."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerkit.prompts.concept import Concept
from steerkit.scoring.clip import ClipScorer
from steerkit.scoring.target import ShownConcept
from steerkit.scoring.zero_shot_labels import zero_shot_labels
from steerkit.world.labels import LABELS


@dataclass(frozen=True, slots=True)
class Seen:
    """Pictures as CLIP sees them: unit embeddings [n, e], probabilities and most probable values of the labels."""

    embeddings: Tensor
    labels: dict[str, list[str]]
    probabilities: dict[str, Tensor]


class ConceptJudge:
    """Probabilities of concepts by zero-shot CLIP, so that the label classifier stays an independent truth."""

    def __init__(self, clip: ClipScorer) -> None:
        self.clip = clip

    def see(self, images: NDArray[np.uint8]) -> Seen:
        """Embed uint8 images [n, H, W, 3] and read off the labels."""
        embeddings = self.clip.images(images)
        found = zero_shot_labels(self.clip, embeddings)
        return Seen(embeddings, found.names, found.probabilities)

    def probability(self, seen: Seen, concept: Concept | ShownConcept) -> Tensor:
        """Probability [n] that each picture shows `concept`, among its label's values, or against its other phrases."""
        if concept.phrases:
            answer = self.clip.zero_shot(
                seen.embeddings, {"with": concept.phrases, "without": concept.other_phrases or ("a photo",)}
            )
            return answer.probabilities[:, 0]
        assert concept.label is not None and concept.value is not None, "checked by the model"
        return seen.probabilities[concept.label][:, LABELS[concept.label].index(concept.value)]


def labels_kept(steered: dict[str, list[str]], unsteered: dict[str, list[str]], without: str | None) -> Tensor:
    """Share [n] of the labels other than `without` that each picture has in common with its unsteered one."""
    same = [
        torch.tensor([a == b for a, b in zip(steered[label], unsteered[label], strict=True)])
        for label in steered
        if label != without
    ]
    return torch.stack(same).double().mean(0)
