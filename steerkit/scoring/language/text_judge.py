"""Who says which concepts a text shows: the embedded classifier, or a zero-shot scorer, by parameter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from steerkit.errors import UserError
from steerkit.scoring.language.entailment import Entailment
from steerkit.scoring.language.text_labels import TextLabels

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
