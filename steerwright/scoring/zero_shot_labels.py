"""The labels of a set by CLIP's zero-shot answer, for models whose pictures the label classifier has never seen."""

import torch
from torch import Tensor

from steerwright.prompts.label_set import LabelSet
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.labels import Predictions


def zero_shot_labels(scorer: ClipScorer, images: Tensor, labels: LabelSet) -> Predictions:
    """Labels of image embeddings [N, e], in the shape that the label classifier gives.

    A colour is asked for with the object that was found: `a photo of a red boat` against `a photo of a blue boat`.
    """
    names: dict[str, list[str]] = {}
    probabilities: dict[str, Tensor] = {}
    for label, concepts in labels.phrases.items():
        if label not in labels.with_each:
            answer = scorer.zero_shot(images, concepts)
            names[label], probabilities[label] = answer.names, answer.probabilities
    for label, other in labels.with_each.items():
        values = labels.values[label]
        found = torch.zeros(len(images), len(values))
        for place, thing in enumerate(labels.values[other]):
            rows = torch.tensor([i for i, said in enumerate(names[other]) if said == thing], dtype=torch.long)
            if len(rows):
                asked = {value: (phrases[place],) for value, phrases in labels.phrases[label].items()}
                found[rows] = scorer.zero_shot(images[rows], asked).probabilities
        probabilities[label] = found
        names[label] = [values[i] for i in found.argmax(1).tolist()]
    return Predictions(names, probabilities)
