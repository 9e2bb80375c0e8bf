"""The text classifier: which of its values a text shows: the ground truth of generated texts.

A text becomes the set of its words, of its pairs of neighbouring words, and of a few facts of form (how many words, how
long its longest sentence is, whether it ended by itself, how much it repeats); a small network reads the sum of their
embeddings. Word pairs are why a heap of a value's words in disorder does not count as that value.
"""

import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)?|'[A-Za-z]+|[.,;:!?]|\d+|[^\sA-Za-z\d]+")
SENTENCE_END = re.compile(r"[.!?]+(?:\s|$)")
WIDTH, HIDDEN = 24, 64
# Upper ends of the buckets of a count; one bucket more is above the last.
WORDS_UPTO = (3, 5, 7, 8, 9, 10, 12, 15, 20, 30, 45, 70)
LONGEST_UPTO = (3, 5, 7, 8, 9, 10, 12, 15, 18, 22, 27, 35)
SENTENCES_UPTO = (0, 1, 2, 3, 5)
REPEATS_UPTO = (1, 2, 3, 4, 6, 10)
UNKNOWN_PAIRS_UPTO = (0, 1, 2, 4, 8, 16)


def words_of(text: str) -> list[str]:
    """Words and marks of a text; a word in capitals keeps them, any other is in lower case."""
    return [word if len(word) > 1 and word.isupper() else word.lower() for word in WORD.findall(text)]


def _bucket(name: str, count: int, upto: Sequence[int]) -> str:
    return f"<{name} {sum(count > end for end in upto)}>"


def form_features() -> list[str]:
    """All facts of form, in a fixed order."""
    names = {"words": WORDS_UPTO, "longest": LONGEST_UPTO, "sentences": SENTENCES_UPTO, "repeats": REPEATS_UPTO,
             "unknown": UNKNOWN_PAIRS_UPTO}  # fmt: skip
    buckets = [f"<{name} {index}>" for name, upto in names.items() for index in range(len(upto) + 1)]
    return ["<ended>", "<cut>", *buckets]


class TextClassifier(nn.Module):
    """An embedding of each feature, summed; two linear layers; a logit for each value."""

    def __init__(self, vocabulary: Sequence[str], values: Sequence[str]) -> None:
        super().__init__()
        self.values = tuple(values)
        self.vocabulary = tuple(vocabulary)
        self.index = {feature: index for index, feature in enumerate(self.vocabulary)}
        self.embedding = nn.EmbeddingBag(len(self.vocabulary), WIDTH, mode="sum")
        self.hidden = nn.Linear(WIDTH, HIDDEN)
        self.out = nn.Linear(HIDDEN, len(self.values))
        nn.init.normal_(self.embedding.weight, std=0.1)

    def features(self, text: str, ended: bool) -> list[int]:
        """Indices of a text's features. Words and pairs that the vocabulary lacks are left out, but counted."""
        words = words_of(text)
        pairs = [f"{a} {b}" for a, b in pairwise(words)]
        known = [pair for pair in pairs if pair in self.index]
        sentences = [len(part.split()) for part in SENTENCE_END.split(text) if part.strip()]
        repeats = max((pairs.count(pair) for pair in set(pairs)), default=0)
        form = (
            "<ended>" if ended else "<cut>",
            _bucket("words", len(text.split()), WORDS_UPTO),
            _bucket("longest", max(sentences, default=0), LONGEST_UPTO),
            _bucket("sentences", len(SENTENCE_END.findall(text)), SENTENCES_UPTO),
            _bucket("repeats", repeats, REPEATS_UPTO),
            _bucket("unknown", len(pairs) - len(known), UNKNOWN_PAIRS_UPTO),
        )
        said = [word for word in dict.fromkeys(words) if word in self.index]
        return [self.index[feature] for feature in (*form, *said, *dict.fromkeys(known))]

    def forward(self, bags: Sequence[Sequence[int]], kept: Callable[[int], Tensor] | None = None) -> Tensor:
        """Logits float32 [n, values] of texts given as their features.

        `kept(count)` weighs that many features, float32 [count]: in training some are forgotten, facts of form never.
        """
        flat = torch.tensor([index for bag in bags for index in bag])
        lengths = torch.tensor([0, *(len(bag) for bag in bags)])
        weights = None if kept is None else torch.where(flat < len(form_features()), 1.0, kept(len(flat)))
        summed = self.embedding(flat, lengths.cumsum(0)[:-1], per_sample_weights=weights)
        return self.out(torch.relu(self.hidden(torch.relu(summed))))


def save_text_classifier(model: TextClassifier, folder: Path) -> None:
    """Write config.json, vocabulary.json and model.safetensors (fp16)."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({"values": list(model.values), "width": WIDTH, "hidden": HIDDEN}, indent=1)
    )
    (folder / "vocabulary.json").write_text(json.dumps(model.vocabulary, ensure_ascii=False, indent=0))
    save_file(
        {name: weight.half().contiguous() for name, weight in model.state_dict().items()}, folder / "model.safetensors"
    )


def load_text_classifier(folder: Path) -> TextClassifier:
    """The classifier of a folder, in float32 and eval mode. ValueError if it has other widths."""
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    if (config["width"], config["hidden"]) != (WIDTH, HIDDEN):
        raise ValueError(f"{folder} is {config['width']} and {config['hidden']} wide, not {WIDTH} and {HIDDEN}.")
    model = TextClassifier(json.loads((folder / "vocabulary.json").read_text()), config["values"])
    model.load_state_dict({name: weight.float() for name, weight in load_file(folder / "model.safetensors").items()})
    model.eval()
    return model
