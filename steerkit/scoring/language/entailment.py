"""Which concepts a text shows, by zero-shot classification: a model of natural language inference, asked of each one.

For texts that the embedded classifier has never seen. Source: arXiv:1909.00161.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steerkit.errors import UserError
from steerkit.models.adapters import check_adapters
from steerkit.models.building import building
from steerkit.models.custom_code import NO_CODE, code_refused, wants_code
from steerkit.models.hub import pinned_commit

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

        from steerkit.models.load import default_device

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
