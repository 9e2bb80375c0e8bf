"""What settings are tuned on: CLIP's word for the season and what was kept, never the labels that score the result."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerkit.scoring.clip import ClipScorer
from steerkit.scoring.labels import Predictions
from steerkit.scoring.zero_shot_labels import zero_shot_labels
from steerkit.world.labels import LABELS

KEPT = tuple(label for label in LABELS if label != "season")


@dataclass(frozen=True, slots=True)
class Judged:
    """For each image, the probability of the wanted season, float32 [n], and the other labels, index [n, labels]."""

    wanted: Tensor
    others: Tensor

    def rows(self, rows: Sequence[int]) -> "Judged":
        """These images, in this order."""
        index = torch.as_tensor(rows)
        return Judged(self.wanted[index], self.others[index])


class TuningJudge:
    """Judges images by zero-shot CLIP, so that the label classifier stays an independent truth for the scores."""

    def __init__(self, clip: ClipScorer, season: str = "winter") -> None:
        self.clip, self.season = clip, season

    def judge(self, images: NDArray[np.uint8]) -> Judged:
        """Judge uint8 images [n, H, W, 3]."""
        found: Predictions = zero_shot_labels(self.clip, self.clip.images(images))
        wanted = found.probabilities["season"][:, LABELS["season"].index(self.season)]
        others = torch.stack([found.probabilities[label].argmax(1) for label in KEPT], dim=1)
        return Judged(wanted, others)


def kept_share(judged: Judged, unsteered: Judged) -> Tensor:
    """Share of object, colour, place and time that each image has in common with its unsteered one, float32 [n]."""
    return (judged.others == unsteered.others).float().mean(1)
