"""Which season, object, colour, place and time an image shows, read off by the embedded label classifier."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from steerwright.models.building import building

if TYPE_CHECKING:
    from steerwright.prompts.label_set import LabelSet

EMBEDDED = "models/seasons-labels"
IMAGE_SIZE = 64
"""The side of the pictures that the classifier reads."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """For each label, the most probable value of each image [N], and the probabilities of all [N, values]."""

    names: dict[str, list[str]]
    probabilities: dict[str, Tensor]

    def confidence(self, label: str) -> Tensor:
        """Probability [N] of the value that was chosen."""
        return self.probabilities[label].amax(1)


class ConvStage(nn.Sequential):
    """Two 3x3 convolutions, the first of stride 2, each with batch norm and ReLU."""

    def __init__(self, inside: int, outside: int) -> None:
        layers: list[nn.Module] = []
        for width, stride in ((inside, 2), (outside, 1)):
            layers += [nn.Conv2d(width, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
        super().__init__(*layers)


class LabelClassifier(nn.Module):
    """Four convolutional stages, then one linear head for each of `labels` (label -> its values, in order)."""

    def __init__(self, labels: Mapping[str, Sequence[str]], widths: tuple[int, ...] = (24, 48, 96, 128)) -> None:
        super().__init__()
        self.labels = {name: tuple(values) for name, values in labels.items()}
        self.widths = widths
        self.stages = nn.Sequential(*(ConvStage(a, b) for a, b in zip((3, *widths), widths, strict=False)))
        # 4x4 positions stay apart: where things are says which place it is.
        self.dropout = nn.Dropout(0.2)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(widths[-1] * 16, len(values)) for name, values in self.labels.items()}
        )

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Logits of each label, [n, values], for pixels [n, 3, 64, 64] in [-1, 1]."""
        features = self.dropout(self.stages(pixels).flatten(1))
        return {name: head(features) for name, head in self.heads.items()}


class LabelScorer:
    """The seasons world's label classifier, in batches, on uint8 images.

    It was trained on rendered scenes, so it says nothing of photographs: for real models use CLIP's zero-shot.
    """

    def __init__(self, network: nn.Module, *, device: str | None = None, batch_size: int = 128) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = network.to(self.device).eval()
        self.batch_size = batch_size

    @classmethod
    def load(
        cls,
        folder: str | Path = EMBEDDED,
        labels: LabelSet | None = None,
        *,
        device: str | None = None,
        batch_size: int = 128,
    ) -> LabelScorer:
        """The classifier saved in `folder`; UserError if there is none, or one of other labels than `labels`."""
        from steerwright.errors import UserError

        missing = [name for name in ("config.json", "model.safetensors") if not (Path(folder) / name).is_file()]
        if missing:
            raise UserError(
                f"{folder} is not a label classifier: {' and '.join(missing)} missing. The embedded one is {EMBEDDED}."
            )
        with building():
            network = load_label_classifier(Path(folder))
        if labels is not None and network.labels != labels.values:
            raise UserError(
                f"{folder} was trained for the labels {', '.join(network.labels)}, with values that are not those of "
                f"{labels.name}. Name its own classifier, or `clip`, in scorers.labels."
            )
        return cls(network, device=device, batch_size=batch_size)

    def predict(self, pixels: NDArray[np.uint8]) -> Predictions:
        """Labels of uint8 images [N, H, W, 3]; other sizes than 64x64 are resized first."""
        if len(pixels) == 0:
            raise ValueError("There are no images to label.")
        parts: dict[str, list[Tensor]] = {label: [] for label in self.network.labels}
        with torch.inference_mode():
            for start in range(0, len(pixels), self.batch_size):
                logits = self.network(_to_unit(pixels[start : start + self.batch_size]).to(self.device))
                for label, chunks in parts.items():
                    chunks.append(logits[label].float().softmax(1).cpu())
        probabilities = {label: torch.cat(chunks) for label, chunks in parts.items()}
        names = {
            label: [values[i] for i in probabilities[label].argmax(1).tolist()]
            for label, values in self.network.labels.items()
        }
        return Predictions(names, probabilities)


def save_label_classifier(model: LabelClassifier, folder: Path) -> None:
    """Write config.json and model.safetensors (fp16)."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"widths": list(model.widths), "labels": {name: list(values) for name, values in model.labels.items()}}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in model.state_dict().items()}
    save_file(half, folder / "model.safetensors")


def load_label_classifier(folder: Path) -> LabelClassifier:
    """The classifier of a folder, in float32 and eval mode, with the labels that it was trained for."""
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    model = LabelClassifier(config["labels"], tuple(config["widths"]))
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    model.eval()
    return model


def _to_unit(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 [N, H, W, 3] as float32 [N, 3, 64, 64] in [-1, 1]."""
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if images.shape[-2:] != (IMAGE_SIZE, IMAGE_SIZE):
        images = interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True, align_corners=False)
    return images
