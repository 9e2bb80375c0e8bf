"""The five labels by CLIP's zero-shot answer, for models whose pictures the label classifier has never seen."""

import torch
from torch import Tensor

from steerwright.scoring.clip import SEASON_PHRASES, ClipScorer
from steerwright.scoring.labels import Predictions
from steerwright.world.captions import PLACE_PHRASES, TIME_PHRASES, with_article
from steerwright.world.labels import COLOURS, OBJECTS

CONCEPTS: dict[str, dict[str, tuple[str, ...]]] = {
    "season": SEASON_PHRASES,
    "object": {name: (f"a photo of {with_article(name)}", f"a picture of {with_article(name)}") for name in OBJECTS},
    "colour": {name: tuple(f"a photo of {with_article(f'{name} {thing}')}" for thing in OBJECTS) for name in COLOURS},
    "place": {name: tuple(f"a photo of a scene {phrase}" for phrase in PLACE_PHRASES[name]) for name in PLACE_PHRASES},
    "time": {name: tuple(f"a photo of a scene {phrase}" for phrase in TIME_PHRASES[name]) for name in TIME_PHRASES},
}


def zero_shot_labels(scorer: ClipScorer, images: Tensor) -> Predictions:
    """Labels of image embeddings [N, e], in the shape that the label classifier gives.

    A colour is asked for with the object that was found: `a photo of a red boat` against `a photo of a blue boat`.
    """
    names: dict[str, list[str]] = {}
    probabilities: dict[str, Tensor] = {}
    for label, concepts in CONCEPTS.items():
        if label != "colour":
            answer = scorer.zero_shot(images, concepts)
            names[label], probabilities[label] = answer.names, answer.probabilities
    colours = torch.zeros(len(images), len(COLOURS))
    for place, thing in enumerate(OBJECTS):
        rows = torch.tensor([i for i, found in enumerate(names["object"]) if found == thing], dtype=torch.long)
        if len(rows):
            asked = {colour: (phrases[place],) for colour, phrases in CONCEPTS["colour"].items()}
            colours[rows] = scorer.zero_shot(images[rows], asked).probabilities
    probabilities["colour"] = colours
    names["colour"] = [COLOURS[i] for i in colours.argmax(1).tolist()]
    return Predictions(names, probabilities)
