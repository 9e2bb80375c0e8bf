"""The seasons world's perceptual backbone."""

import logging
import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from seasons.labels import LABELS
from seasons.render import render_all
from seasons.scene import Scene, sample_scenes
from seasons.training import Draws, Schedule, fit, to_unit_range
from steerwright.dag import Out, Param
from steerwright.scoring.perceptual import CHANNELS, PerceptualBackbone, save_perceptual_backbone


def train_perceptual(
    scenes: Annotated[int, Param()],
    steps: Annotated[int, Param()],
    backbone: Annotated[Path, Out("seasons-lpips", cache=False, resume=True)],
) -> None:
    """Train the backbone on which lpips compares pictures."""
    fit_perceptual(backbone, backbone / ".work", steps, scenes)
    shutil.rmtree(backbone / ".work")


# Training of the perceptual backbone.
#
# It learns the labels *and* where and how large things are, from weights of its own, so that its distances do not
# repeat the judgement of the label classifier.

log = logging.getLogger(__name__)

SEED, SCENES_SEED, BATCH = 61, 400, 96


class _WithHeads(nn.Module):
    """The backbone and the heads that train it; they are not shipped."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = PerceptualBackbone()
        flat = CHANNELS[-1] * 64
        self.labels = nn.ModuleDict({name: nn.Linear(flat, len(values)) for name, values in LABELS.items()})
        self.geometry = nn.Linear(flat, 3)


def geometry(scenes: list[Scene]) -> Tensor:
    """Position, size and horizon of each scene, centred and scaled to about unit variance; float32 [n, 3]."""
    raw = np.array([(s.x, s.scale, s.horizon) for s in scenes], dtype=np.float32)
    return torch.from_numpy((raw - (0.5, 1.0, 0.51)) / (0.07, 0.06, 0.03)).float()


def fit_perceptual(folder: Path, work: Path, steps: int, scenes: int) -> None:
    """Write models/seasons-lpips: config.json and fp16 weights."""
    torch.manual_seed(SEED)
    listed = sample_scenes(scenes, SCENES_SEED)
    pixels, where = render_all(listed), geometry(listed)
    truth = torch.tensor([scene.label_indices() for scene in listed])
    model = _WithHeads().to(memory_format=torch.channels_last)

    def loss_at(step: int) -> Tensor:
        draws = Draws.at(SEED, step)
        rows = draws.numpy.integers(scenes, size=BATCH)
        # Mirroring would contradict the position that the geometry head learns, so this draws no more than noise.
        x = to_unit_range(pixels[rows])
        x = (x + 0.08 * draws.normal(*x.shape)).contiguous(memory_format=torch.channels_last)
        flat = model.backbone(x)[-1].flatten(1)
        losses = [
            nn.functional.cross_entropy(head(flat), truth[rows, i]) for i, head in enumerate(model.labels.values())
        ]
        losses.append(nn.functional.mse_loss(model.geometry(flat), where[rows]))
        return torch.stack(losses).mean()

    fit(model, loss_at, Schedule(steps, 1.5e-3, 50, steps // 2), work / "perceptual.pt", weight_decay=0.02)
    save_perceptual_backbone(model.backbone, folder)
