"""How much of a concept there is in texts: by the classifier of the embedded world, else by the model's own reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from steerkit.lab.concepts import ConceptEntry
from steerkit.vectors.steering_vectors import layer_number

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
    `model`: where the text lies between the concept's negative examples (0) and its positive ones (1), along the
    concept's own direction, as the unsteered model reads it; for concepts that the classifier does not know.
    """

    values: tuple[float, ...]
    reader: Reader


def expression(workbench: Workbench, entry: ConceptEntry, answers: Sequence[Completion]) -> Expression:
    """Read `answers` for the concept; an empty answer shows nothing. The caller has the turn at the model."""
    labels = workbench.labels()
    written = [place for place, answer in enumerate(answers) if answer.text.strip()]
    values = [0.0] * len(answers)
    reader: Reader = "classifier" if labels is not None and entry.name in labels.values else "model"
    if written and labels is not None and reader == "classifier":
        found = labels.probabilities(
            [answers[place].text for place in written], ended=[answers[place].ended for place in written]
        )
        column = labels.values.index(entry.name)
        read = torch.as_tensor(found)[:, column].tolist()
    elif written:
        read = _by_model(workbench, entry, [answers[place] for place in written])
    else:
        read = []
    for place, value in zip(written, read, strict=True):
        values[place] = float(value)
    return Expression(tuple(values), reader)


def _by_model(workbench: Workbench, entry: ConceptEntry, answers: Sequence[Completion]) -> list[float]:
    from steerkit.activations.residuals import pooled_residuals

    model = workbench.language()
    direction = next(
        (found for slot, found in entry.vectors.directions.items() if layer_number(slot.hookpoint) == entry.layer), None
    )
    if direction is None or direction.origin is None or not float(direction.norm):
        return [float("nan")] * len(answers)
    texts, prompts = [answer.text for answer in answers], [answer.prompt for answer in answers]
    pooled = pooled_residuals(model, texts, prompts, role="assistant", policy="content")[entry.layer].float().cpu()
    share = (pooled @ direction.unit - direction.origin) / direction.norm
    return [float(value) for value in share.clamp(0, 1)]
