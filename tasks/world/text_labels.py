"""The seasons world's text classifier."""

import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from seasons.language.labelled_texts import LabelledText, labelled_text
from seasons.language.topic import VALUES
from seasons.training import Draws, Schedule, fit
from steerwright.dag import Out, Param
from steerwright.scoring.language.text_classifier import TextClassifier, form_features, save_text_classifier, words_of


def train_text_labels(
    texts: Annotated[int, Param()],
    steps: Annotated[int, Param()],
    labels: Annotated[Path, Out("seasons-text-labels", cache=False, resume=True)],
) -> None:
    """Train the classifier that says which values a text shows: the ground truth of generated texts."""
    train_text_classifier(labels, labels / ".work", texts, steps)
    shutil.rmtree(labels / ".work")


# Training of the text classifier, and how well it reads texts that it has not seen.

log = logging.getLogger(__name__)

SEED, TEXTS_SEED, HELD_OUT_SEED, BATCH = 71, 700, 971, 192
LEAST_WORD, LEAST_PAIR, FORGOTTEN = 3, 4, 1 / 3


def learn_vocabulary(texts: Iterable[str]) -> list[str]:
    """Facts of form, then the words and the pairs of words that occur often enough, by the alphabet."""
    words: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for text in texts:
        found = words_of(text)
        words.update(found)
        pairs.update(f"{a} {b}" for a, b in pairwise(found))
    often = [sorted(name for name, count in counts.items() if count >= least)
             for counts, least in ((words, LEAST_WORD), (pairs, LEAST_PAIR))]  # fmt: skip
    return [*form_features(), *often[0], *often[1]]


def train_text_classifier(folder: Path, work: Path, texts: int, steps: int) -> None:
    """Write models/seasons-text-labels, trained on batches of `texts` texts."""
    rng = np.random.default_rng(TEXTS_SEED)
    shown = [labelled_text(rng) for _ in range(texts)]
    torch.manual_seed(SEED)
    # Disorder and misspellings have no part in the vocabulary: that their word pairs are unknown is what tells them.
    model = TextClassifier(
        learn_vocabulary(one.text for one in shown if one.kind in ("whole", "cut", "joined")), VALUES
    )
    log.info("%d features", len(model.vocabulary))
    bags = [model.features(one.text, one.ended) for one in shown]
    truth = torch.from_numpy(np.stack([one.truth for one in shown])).float()

    def loss_at(step: int) -> Tensor:
        draws = Draws.at(SEED, step)
        rows = draws.numpy.integers(texts, size=BATCH)
        wanted = truth[rows]
        # A text must be known by any part of its words: a third of them is forgotten.
        logits = model(
            [bags[row] for row in rows], lambda n: (torch.rand(n, generator=draws.torch) > FORGOTTEN).float()
        )
        said = ~wanted.isnan()
        return nn.functional.binary_cross_entropy_with_logits(logits[said], wanted[said])

    model = fit(
        model, loss_at, Schedule(steps, 5e-3, 50, steps // 2), work / "text-classifier.pt", weight_decay=0.01, ema=0.99
    )
    rng = np.random.default_rng(HELD_OUT_SEED)
    held_out = [labelled_text(rng, kind) for kind in ("whole", "cut") for _ in range(3000)]
    for value, (recall, false) in recalls(model, held_out).items():
        log.info("%s: recall %.4f, false positives %.4f", value, recall, false)
    save_text_classifier(model, folder)


def recalls(model: TextClassifier, texts: Sequence[LabelledText]) -> dict[str, tuple[float, float]]:
    """Of each value: share of the texts with it that are found, share of those without that are taken for it."""
    with torch.inference_mode():
        said = (model([model.features(one.text, one.ended) for one in texts]) >= 0).numpy()
    truth = np.stack([one.truth for one in texts])
    return {
        value: (float(said[truth[:, i] == 1, i].mean()), float(said[truth[:, i] == 0, i].mean()))
        for i, value in enumerate(VALUES)
    }
