"""Which season, object, colour, place and time an image shows, read off by the embedded label classifier."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from steerwright.models.building import building
from steerwright.world.labels import IMAGE_SIZE, LABELS

EMBEDDED = "models/seasons-labels"


@dataclass(frozen=True, slots=True)
class Predictions:
    """For each label, the most probable value of each image [N], and the probabilities of all [N, values]."""

    names: dict[str, list[str]]
    probabilities: dict[str, Tensor]

    def confidence(self, label: str) -> Tensor:
        """Probability [N] of the value that was chosen."""
        return self.probabilities[label].amax(1)


class LabelScorer:
    """The seasons world's label classifier, in batches, on uint8 images.

    It was trained on rendered scenes, so it says nothing of photographs: for real models use CLIP's zero-shot.
    """

    def __init__(self, network: nn.Module, *, device: str | None = None, batch_size: int = 128) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = network.to(self.device).eval()
        self.batch_size = batch_size

    @classmethod
    def load(cls, folder: str | Path = EMBEDDED, *, device: str | None = None, batch_size: int = 128) -> "LabelScorer":
        """The classifier saved in `folder`; UserError if there is none."""
        from steerwright.errors import UserError
        from steerwright.world.classifiers import load_label_classifier

        missing = [name for name in ("config.json", "model.safetensors") if not (Path(folder) / name).is_file()]
        if missing:
            raise UserError(
                f"{folder} is not a label classifier: {' and '.join(missing)} missing. The embedded one is {EMBEDDED}."
            )
        with building():
            network = load_label_classifier(Path(folder))
        return cls(network, device=device, batch_size=batch_size)

    def predict(self, pixels: NDArray[np.uint8]) -> Predictions:
        """Labels of uint8 images [N, H, W, 3]; other sizes than 64x64 are resized first."""
        if len(pixels) == 0:
            raise ValueError("There are no images to label.")
        parts: dict[str, list[Tensor]] = {label: [] for label in LABELS}
        with torch.inference_mode():
            for start in range(0, len(pixels), self.batch_size):
                logits = self.network(_to_unit(pixels[start : start + self.batch_size]).to(self.device))
                for label, chunks in parts.items():
                    chunks.append(logits[label].float().softmax(1).cpu())
        probabilities = {label: torch.cat(chunks) for label, chunks in parts.items()}
        names = {label: [LABELS[label][i] for i in probabilities[label].argmax(1).tolist()] for label in probabilities}
        return Predictions(names, probabilities)


def _to_unit(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 [N, H, W, 3] as float32 [N, 3, 64, 64] in [-1, 1]."""
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if images.shape[-2:] != (IMAGE_SIZE, IMAGE_SIZE):
        images = interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True, align_corners=False)
    return images
