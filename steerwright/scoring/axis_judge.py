"""Which value of every axis a picture shows: season and object of the seasons world, object and style of any model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from steerwright.errors import UserError
from steerwright.prompts.label_set import LabelSet, with_article
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.labels import LabelScorer


@dataclass(frozen=True, slots=True)
class SeenOnAxis:
    """Of n pictures: for each axis the value that is shown [n], and CLIP's probability of every value [n, values]."""

    values: dict[str, list[str]]
    probabilities: dict[str, Tensor]


class AxisJudge:
    """Reads the values of `axes` (axis -> its values -> the phrases that CLIP is asked for) off pictures.

    With a `classifier` its labels count, for axes that it knows, and its other labels (colour, place) come along; what
    it does not know, and everything without one, is CLIP's zero-shot answer. Probabilities are always CLIP's.
    """

    def __init__(
        self, axes: Mapping[str, Mapping[str, Sequence[str]]], clip: ClipScorer, classifier: LabelScorer | None = None
    ) -> None:
        self.axes = {axis: tuple(values) for axis, values in axes.items()}
        self.clip, self.classifier = clip, classifier
        self._concepts = axes

    def see(self, pixels: NDArray[np.uint8]) -> SeenOnAxis:
        """Judge uint8 images [n, H, W, 3]."""
        embeddings = self.clip.images(pixels)
        answers = {axis: self.clip.zero_shot(embeddings, concepts) for axis, concepts in self._concepts.items()}
        values = {axis: answer.names for axis, answer in answers.items()}
        if self.classifier is not None:
            values |= self.classifier.predict(pixels).names
        return SeenOnAxis(values, {axis: answer.probabilities for axis, answer in answers.items()})


def phrases(axis: str, value: str, labels: LabelSet) -> tuple[str, ...]:
    """What CLIP is asked for: the phrases of `labels`, else a few plain ones."""
    known = labels.phrases.get(axis, {}).get(value)
    if known:
        return known
    name = value.replace("_", " ").lower()
    if axis == "style":
        return (f"a picture in {name} style", f"an artwork in the style of {name}")
    return (f"a photo of {with_article(name)}", f"a picture of {with_article(name)}")


def axis_phrases(prompts: pl.DataFrame, axes: Sequence[str], labels: LabelSet) -> dict[str, dict[str, tuple[str, ...]]]:
    """Axis -> its values -> what CLIP is asked for; the values of `labels`, else those that `prompts` name, sorted.

    Raises UserError for an axis that no prompt names.
    """
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for axis in axes:
        named = prompts[axis].drop_nulls().unique().sort().to_list() if axis in prompts.columns else []
        if not named:
            known = ", ".join(column for column in prompts.columns if prompts.schema[column] == pl.String)
            raise UserError(f"No prompt names a value of the axis {axis!r}; the prompts have the columns {known}.")
        known_values = labels.values.get(axis, ())
        values = known_values if set(named) <= set(known_values) else tuple(named)
        found[axis] = {value: phrases(axis, value, labels) for value in values}
    return found


def unknown_values(axes: Mapping[str, Iterable[str]], labels: LabelSet) -> list[str]:
    """`axis:value` for every value that a label classifier of `labels` cannot name."""
    known = labels.values
    return [f"{axis}:{value}" for axis, values in axes.items() for value in values if value not in known.get(axis, ())]
