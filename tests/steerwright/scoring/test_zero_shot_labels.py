"""Zero-shot labels on a scorer whose embedding space is planted."""

import torch
from torch import Tensor

from seasons.label_set import SEASONS_WORLD
from seasons.labels import LABELS
from steerwright.scoring.clip import ClipScorer, zero_shot_labels

WORDS = [word for values in LABELS.values() for word in values]
MEANING = {"snow": "winter", "noon": "day", "daylight": "day", "city": "street", "field": "meadow", "indoors": "room"}


class WordSpace(ClipScorer):
    """An embedding has one axis for each value: a text points along the words that it names."""

    def __init__(self) -> None:
        self._model = torch.nn.Module()
        self._model.logit_scale = torch.nn.Parameter(torch.tensor(4.6))

    def texts(self, texts: list[str]) -> Tensor:  # type: ignore[override]
        out = torch.zeros(len(texts), len(WORDS))
        for row, text in enumerate(texts):
            for word in [*WORDS, *MEANING]:
                out[row, WORDS.index(MEANING.get(word, word))] += word in text.split() or f"{word}s" in text.split()
        return torch.nn.functional.normalize(out + 1e-6, dim=1)


def test_each_label_is_found_in_the_picture_that_shows_it() -> None:
    scenes = [("winter", "boat", "red", "lake", "night"), ("summer", "cat", "purple", "room", "day"),
              ("spring", "boat", "blue", "street", "sunset")]  # fmt: skip
    space = WordSpace()
    found = zero_shot_labels(space, space.texts([" ".join(scene) for scene in scenes]), SEASONS_WORLD)
    assert list(zip(*(found.names[label] for label in LABELS), strict=True)) == scenes
    for label, values in LABELS.items():
        assert found.probabilities[label].shape == (3, len(values))
        assert torch.allclose(found.probabilities[label].sum(1), torch.ones(3), atol=1e-5)


def test_every_value_has_phrases_in_the_order_that_the_classifier_indexes() -> None:
    assert {label: tuple(concepts) for label, concepts in SEASONS_WORLD.phrases.items()} == LABELS
