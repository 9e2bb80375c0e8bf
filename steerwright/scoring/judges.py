"""Does a picture show a concept? By CLIP, for tuning and as one of two judges of the result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from steerwright.prompts.concepts import Concept
from steerwright.prompts.label_set import LabelSet
from steerwright.scoring.clip import ClipScorer, paired_similarity, zero_shot_labels
from steerwright.scoring.target import ShownConcept, Target


@dataclass(frozen=True, slots=True)
class Seen:
    """Pictures as CLIP sees them: unit embeddings [n, e], probabilities and most probable values of the labels."""

    embeddings: Tensor
    labels: dict[str, list[str]]
    probabilities: dict[str, Tensor]


class ConceptJudge:
    """Probabilities of concepts by zero-shot CLIP, so that the label classifier stays an independent truth."""

    def __init__(self, clip: ClipScorer, labels: LabelSet) -> None:
        self.clip, self.labels = clip, labels

    def see(self, images: NDArray[np.uint8]) -> Seen:
        """Embed uint8 images [n, H, W, 3] and read off the labels."""
        embeddings = self.clip.images(images)
        found = zero_shot_labels(self.clip, embeddings, self.labels)
        return Seen(embeddings, found.names, found.probabilities)

    def probability(self, seen: Seen, concept: Concept | ShownConcept) -> Tensor:
        """Probability [n] that each picture shows `concept`, among its label's values, or against its other phrases."""
        if concept.phrases:
            answer = self.clip.zero_shot(
                seen.embeddings, {"with": concept.phrases, "without": concept.other_phrases or ("a photo",)}
            )
            return answer.probabilities[:, 0]
        assert concept.label is not None and concept.value is not None, "checked by the model"
        return seen.probabilities[concept.label][:, self.labels.values[concept.label].index(concept.value)]


def labels_kept(steered: dict[str, list[str]], unsteered: dict[str, list[str]], without: str | None) -> Tensor:
    """Share [n] of the labels other than `without` that each picture has in common with its unsteered one."""
    same = [
        torch.tensor([a == b for a, b in zip(steered[label], unsteered[label], strict=True)])
        for label in steered
        if label != without
    ]
    return torch.stack(same).double().mean(0)


# What settings are tuned on: CLIP's word for the concept and what was kept, never the labels that score the result.

Measure = Literal["prompt", "directional"]


@dataclass(frozen=True, slots=True)
class Judged:
    """For each image, the probability of the target, float32 [n] (of several concepts the least), the labels that are
    meant to stay, index [n, labels], and its unit embedding [n, e]."""

    wanted: Tensor
    others: Tensor
    embeddings: Tensor

    def rows(self, rows: Sequence[int]) -> "Judged":
        """These images, in this order."""
        index = torch.as_tensor(rows)
        return Judged(self.wanted[index], self.others[index], self.embeddings[index])


class TuningJudge:
    """Judges images by zero-shot CLIP, so that the label classifier stays an independent truth for the scores.

    The way from a prompt to the prompt with the target's added words is how steered pictures are meant to move.
    """

    def __init__(self, clip: ClipScorer, target: Target) -> None:
        self.clip, self.target = clip, target
        self._concepts = ConceptJudge(clip, target.label_set)

    def judge(self, images: NDArray[np.uint8]) -> Judged:
        """Judge uint8 images [n, H, W, 3]."""
        seen = self._concepts.see(images)
        each = [self._concepts.probability(seen, concept) for concept in self.target.concepts.values()]
        others = torch.stack([seen.probabilities[label].argmax(1) for label in self.target.kept_labels], dim=1)
        return Judged(torch.stack(each).amin(0), others, seen.embeddings)

    def kept(
        self, judged: Judged, unsteered: Judged, prompts: Sequence[str], asked: Sequence[str] = ("fidelity",)
    ) -> dict[str, Tensor]:
        """What each image kept of its unsteered one, float32 [n], by measure: as far as it is `asked` for, fidelity,
        prompt_share and directional (`experiments.floors.Kept`). `prompts`: what each image was made for, [n].
        """
        found: dict[str, Tensor] = {}
        if "fidelity" in asked:
            found["fidelity"] = kept_share(judged, unsteered)
        if "prompt_share" in asked or "directional" in asked:
            texts = list(dict.fromkeys(prompts))
            rows = [texts.index(text) for text in prompts]
            said = self.clip.texts(texts)[rows]
            if "prompt_share" in asked:
                found["prompt_share"] = prompt_share(judged.embeddings, unsteered.embeddings, said)
            if "directional" in asked:
                aimed = self.clip.texts([f"{text} {self.target.added_words}" for text in texts])[rows]
                found["directional"] = directional_similarity(judged.embeddings, unsteered.embeddings, said, aimed)
        return found


def kept_by(
    measure: Measure,
    clip: ClipScorer,
    images: Tensor,
    unsteered: Tensor,
    texts: Sequence[str],
    meant: Sequence[str],
) -> Tensor:
    """What pictures kept [n] by CLIP alone: `prompt` or `directional`, of embeddings [n, e] of both pictures.

    `texts` are what similarity is kept to; the pictures are meant to move as from `texts` to `meant`.
    """
    said = clip.texts(texts)
    if measure == "prompt":
        return prompt_share(images, unsteered, said)
    return directional_similarity(images, unsteered, said, clip.texts(meant))


def kept_share(judged: Judged, unsteered: Judged) -> Tensor:
    """Share of the labels that are meant to stay that each image has in common with its unsteered one, float32 [n]."""
    return (judged.others == unsteered.others).float().mean(1)


def prompt_share(images: Tensor, unsteered: Tensor, prompts: Tensor) -> Tensor:
    """Share [n] in [0, 1] of the unsteered image's similarity to its prompt that each image kept; all [n, e], unit.

    1 where the unsteered image has none: there is nothing to lose.
    """
    before, now = paired_similarity(unsteered, prompts), paired_similarity(images, prompts)
    return torch.where(before > 0, now / before.clamp(min=1e-12), 1.0).clamp(0, 1)


def directional_similarity(images: Tensor, unsteered: Tensor, prompts: Tensor, aimed: Tensor) -> Tensor:
    """Cosine [n] of the way from unsteered to steered image and the way from prompt to aimed text; all [n, e], unit.

    1 for an image that did not move: it has not gone astray. Source: directional CLIP similarity, arXiv:2108.00946.
    """
    moved, meant = images - unsteered, aimed - prompts
    cosine = paired_similarity(normalize(moved, dim=1), normalize(meant, dim=1))
    return torch.where(moved.norm(dim=1) > 1e-6, cosine, 1.0)
