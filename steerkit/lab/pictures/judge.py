"""What became of a picture: the labels that the classifier reads off it, and how far it is from another one."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steerkit.scoring.labels import LabelScorer
from steerkit.scoring.perceptual import Perceptual


@dataclass(frozen=True, slots=True)
class LabelChange:
    """One label of two pictures: what each shows most likely, and how sure the classifier is."""

    label: str
    before: str
    before_probability: float
    after: str
    after_probability: float

    @property
    def changed(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class PictureChange:
    """The five labels, and the perceptual distance LPIPS: 0 for the same picture, 2 to 3 for two different scenes."""

    labels: tuple[LabelChange, ...]
    distance: float


class Judge:
    """The seasons world's label classifier and its LPIPS; one thread at a time."""

    def __init__(self, labels: LabelScorer, perceptual: Perceptual) -> None:
        self._labels, self._perceptual = labels, perceptual
        self._lock = threading.Lock()

    @classmethod
    def load(cls, root: Path) -> Judge:
        """The embedded ones of the project in `root`; UserError where they are missing."""
        models = root / "models"
        return cls(LabelScorer.load(models / "seasons-labels"), Perceptual(models / "seasons-lpips"))

    def compare(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> PictureChange:
        """Two pictures of one size, uint8 [height, width, 3]."""
        with self._lock:
            found = self._labels.predict(np.stack([before, after]))
            distance = float(self._perceptual.distances(before[None], after[None])[0])
        labels = []
        for label, (first, second) in found.names.items():
            sure = found.confidence(label).tolist()
            labels.append(LabelChange(label, first, sure[0], second, sure[1]))
        return PictureChange(tuple(labels), distance)
