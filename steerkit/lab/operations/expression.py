"""How much of a concept there is in texts: by the classifier of the embedded world, else by the model's own reading."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from steerkit.lab.concepts import ConceptEntry
from steerkit.lab.reading import read_answers

if TYPE_CHECKING:
    from steerkit.lab.workbench import Workbench
    from steerkit.models.language.generate import Completion

Reader = Literal["classifier", "model"]
PRESENT = 0.5
"""From here on a text counts as one that shows the concept."""


@dataclass(frozen=True, slots=True)
class Expression:
    """For each text a number from 0 (not there) to 1 (there), and who says so.

    `classifier`: the probability that the world's classifier of texts gives, which knows nothing of the model.
    `model`: where the text lies between the concept's answers without it (0) and with it (1), as the unsteered model
    reads them; for concepts that the classifier does not know. Not a number for a concept without any answers.
    """

    values: tuple[float, ...]
    reader: Reader


def expression(workbench: Workbench, entry: ConceptEntry, answers: Sequence[Completion]) -> Expression:
    """Read `answers` for the concept; an empty answer shows nothing. The caller has the turn at the model."""
    labels = workbench.labels()
    written = [answer for answer in answers if answer.text.strip()]
    reader: Reader = "classifier" if labels is not None and entry.name in labels.values else "model"
    if not written:
        read = []
    elif labels is not None and reader == "classifier":
        found = labels.probabilities([answer.text for answer in written], ended=[answer.ended for answer in written])
        read = torch.as_tensor(found)[:, labels.values.index(entry.name)].tolist()
    else:
        read = _by_model(workbench, entry, written)
    values = iter(read)
    return Expression(tuple(float(next(values)) if answer.text.strip() else 0.0 for answer in answers), reader)


def _by_model(workbench: Workbench, entry: ConceptEntry, answers: Sequence[Completion]) -> list[float]:
    reading = workbench.reading(entry)
    if reading is None:
        return [math.nan] * len(answers)
    rows = read_answers(
        workbench.language(), [answer.text for answer in answers], [answer.prompt for answer in answers]
    )
    return reading.shares(rows[reading.layer])
