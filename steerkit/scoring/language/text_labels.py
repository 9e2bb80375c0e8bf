"""Which of the language world's values a text shows, read off by the embedded text classifier."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from steerkit.errors import UserError
from steerkit.models.building import building
from steerkit.world.language.factors import FACTORS, VALUES
from steerkit.world.language.text_classifier import TextClassifier, load_text_classifier

EMBEDDED = "models/seasons-text-labels"
# From this probability on a text counts as showing a value.
PRESENT = 0.5


class TextLabels:
    """The classifier of the 17 values (happy, formal, pirate, brief, ...). A text may show several.

    It was trained on the grammar's texts, so it says nothing of other models' English: for those take a zero-shot
    scorer. Nonsense and phrases said over and over count as no value, whatever their words.
    """

    values: tuple[str, ...] = VALUES
    factors: Mapping[str, tuple[str, ...]] = FACTORS

    def __init__(self, network: TextClassifier) -> None:
        self.network = network.eval()

    @classmethod
    def load(cls, folder: str | Path = EMBEDDED) -> "TextLabels":
        """The classifier saved in `folder`; UserError if there is none, or one that does not fit."""
        folder = Path(folder)
        wanted = ("config.json", "vocabulary.json", "model.safetensors")
        missing = [name for name in wanted if not (folder / name).is_file()]
        if missing:
            raise UserError(
                f"{folder} is not a text classifier: {' and '.join(missing)} missing. The embedded one is {EMBEDDED}."
            )
        try:
            with building():
                network = load_text_classifier(folder)
        except Exception as problem:  # damaged files raise whatever json, safetensors or torch make of them
            raise UserError(
                f"The text classifier in {folder} cannot be read ({problem}). The embedded one is {EMBEDDED}: "
                f"`git checkout {EMBEDDED}` brings it back."
            ) from problem
        return cls(network)

    def probabilities(self, texts: Sequence[str], ended: Sequence[bool] | None = None) -> NDArray[np.float32]:
        """Probability of each value in each text, float32 [n, values] in the order of `values`.

        `ended` says of each text whether it came to its own end or was cut off (None: all ended): only a text that
        ended can be brief. A text without a word has no value. Raises ValueError if their numbers differ.
        """
        ended = [True] * len(texts) if ended is None else ended
        if not texts:
            return np.zeros((0, len(self.values)), np.float32)
        bags = [self.network.features(text, end) for text, end in zip(texts, ended, strict=True)]
        with torch.inference_mode():
            found: NDArray[np.float32] = self.network(bags).sigmoid().float().numpy()
        found[[not text.strip() for text in texts]] = 0
        found[[not end for end in ended], self.values.index("brief")] = 0
        return found
