"""Who says which concepts a text shows: the embedded classifier, or a zero-shot scorer, by parameter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.building import building
from steerwright.models.custom_code import NO_CODE, check_adapters, code_refused, wants_code
from steerwright.models.identify import pinned_commit
from steerwright.scoring.language.text_classifier import TextClassifier, load_text_classifier

if TYPE_CHECKING:
    import polars as pl


class TextJudge:
    """Probabilities of the concepts that are scored, in their order, from either scorer."""

    def __init__(self, scorer: TextLabels | Entailment, concepts: Sequence[str]) -> None:
        self.concepts = tuple(concepts)
        self._scorer = scorer
        known = scorer.values if isinstance(scorer, TextLabels) else scorer.concepts
        missing = [name for name in concepts if name not in known]
        if missing:
            raise UserError(
                f"The text classifier does not know {', '.join(missing)}; it knows {', '.join(known)}. Take these "
                "concepts out of language.prompts.concepts, or name a zero-shot scorer in language.scorer."
            )
        self._columns = [known.index(name) for name in concepts]

    @classmethod
    def load(cls, source: str, hypotheses: Mapping[str, str]) -> TextJudge:
        """From a folder of the embedded classifier, or from a classifier of natural language inference.

        `hypotheses`: by concept, what the latter is asked. UserError where `source` is neither, or lacks a concept.
        """
        scorer = Entailment.load(source, hypotheses) if _is_inference(source) else TextLabels.load(Path(source))
        return cls(scorer, tuple(hypotheses))

    def probabilities(self, texts: Sequence[str], ended: Sequence[bool]) -> np.ndarray:
        """float32 [texts, concepts]; `ended` says of each text whether it came to its own end or was cut off."""
        if not texts:
            return np.zeros((0, len(self.concepts)), np.float32)
        found = torch.as_tensor(self._scorer.probabilities(list(texts), ended=list(ended)))
        return np.asarray(found[:, self._columns].float().numpy())

    def judged(self, texts: pl.DataFrame) -> pl.DataFrame:
        """A table of texts (columns text, ended) with a column `p_CONCEPT` for each concept, and `perplexity`."""
        import polars as pl

        found = self.probabilities(texts["text"].to_list(), texts["ended"].to_list())
        columns = [pl.Series(f"p_{name}", found[:, place]) for place, name in enumerate(self.concepts)]
        return texts.with_columns(*columns, perplexity=pl.col("nll").exp())


def _is_inference(source: str) -> bool:
    """Whether `source` is a transformers model, or an id on the Hub, and no folder of the embedded classifier."""
    folder = Path(source)
    if not folder.is_dir():
        # As for models: what looks like no path of this project is an id on the Hub.
        return not source.startswith(("models/", "./", "/"))
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    architectures = content.get("architectures") if isinstance(content, dict) else None
    return any(str(name).endswith("ForSequenceClassification") for name in architectures or [])


# Which concepts a text shows, by zero-shot classification: a model of natural language inference, asked of each one.
#
# For texts that the embedded classifier has never seen. Source: arXiv:1909.00161.

_AGAINST = ("contradiction", "not_entailment")


class Entailment:
    """A sequence classifier with a label `entailment`, and one hypothesis for each concept.

    A concept's probability is that of entailment against contradiction (or `not_entailment`), each concept for itself:
    a text may show several, or none.
    """

    def __init__(self, model: Any, tokenizer: Any, hypotheses: Mapping[str, str], *, batch_size: int = 32) -> None:
        labels = {str(name).lower(): int(number) for number, name in model.config.id2label.items()}
        against = [labels[name] for name in _AGAINST if name in labels]
        if "entailment" not in labels or not against:
            raise UserError(
                f"A zero-shot scorer needs the labels entailment and contradiction; this one has {', '.join(labels)}. "
                "Name a model of natural language inference."
            )
        self.concepts = tuple(hypotheses)
        self._labels = [labels["entailment"], against[0]]
        self._model, self._tokenizer, self._batch_size = model, tokenizer, batch_size
        self._hypotheses = list(hypotheses.values())

    @classmethod
    def load(cls, source: str, hypotheses: Mapping[str, str], *, device: torch.device | None = None) -> Entailment:
        """The model in a folder that `save_pretrained` wrote, or of that id on the Hub (safetensors only).

        UserError when it can be had from neither, is no such classifier, or needs code of its own.
        """
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from steerwright.models.load import default_device

        check_adapters(f"The zero-shot scorer {source!r}", Path(source))
        # One commit for both, the one that the stage's environment records.
        at: dict[str, Any] = {"revision": None if Path(source).exists() else pinned_commit(source)}
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, **at, **NO_CODE)
            with building():
                model = AutoModelForSequenceClassification.from_pretrained(
                    source, use_safetensors=True, **at, **NO_CODE
                )
        except (OSError, ValueError) as error:
            if wants_code(error):
                raise code_refused("The zero-shot scorer", source, Path(source)) from error
            kind = "folder" if Path(source).exists() else "folder here and cannot be had from the Hub"
            raise UserError(
                f"The zero-shot scorer {source!r} is no usable {kind}: {str(error).splitlines()[0]} "
                "Name a folder with a classifier of natural language inference."
            ) from error
        return cls(model.to(device or default_device()).eval(), tokenizer, hypotheses)

    def probabilities(self, texts: Sequence[str], ended: Sequence[bool] | None = None) -> Tensor:  # noqa: ARG002
        """float32 [texts, concepts]; `ended` is not asked."""
        rows = [(text, hypothesis) for text in texts for hypothesis in self._hypotheses]
        found = [self._batch(rows[at : at + self._batch_size]) for at in range(0, len(rows), self._batch_size)]
        return torch.cat([torch.zeros(0), *found]).reshape(len(texts), len(self._hypotheses))

    @torch.inference_mode()
    def _batch(self, rows: Sequence[tuple[str, str]]) -> Tensor:
        inputs = self._tokenizer(
            [text for text, _ in rows], [hypothesis for _, hypothesis in rows], padding=True,
            truncation="only_first", return_tensors="pt",
        ).to(self._model.device)  # fmt: skip
        logits = self._model(**inputs).logits.float()[:, self._labels]
        return logits.softmax(1)[:, 0].cpu()


# Which values a text shows, read off by the embedded text classifier.

EMBEDDED = "models/seasons-text-labels"
# From this probability on a text counts as showing a value.
PRESENT = 0.5


class TextLabels:
    """The classifier of values such as happy, formal, pirate, brief. A text may show several.

    It was trained on the grammar's texts, so it says nothing of other models' English: for those take a zero-shot
    scorer. Nonsense and phrases said over and over count as no value, whatever their words.
    """

    def __init__(self, network: TextClassifier) -> None:
        self.network = network.eval()
        self.values = network.values

    @classmethod
    def load(cls, folder: str | Path = EMBEDDED) -> TextLabels:
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
        if "brief" in self.values:
            found[[not end for end in ended], self.values.index("brief")] = 0
        return found
