"""A small convolutional network whose feature maps the lpips package compares, in place of AlexNet's.

It learns the labels *and* where and how large things are, from weights of its own, so that its distances do not
repeat the judgement of the label classifier.
"""

import json
import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from steerkit.world.labels import LABELS
from steerkit.world.render import render_all
from steerkit.world.scene import Scene, sample_scenes
from steerkit.world.training import Draws, Schedule, fit, to_unit_range

log = logging.getLogger(__name__)

SEED, SCENES_SEED, BATCH = 61, 400, 96
CHANNELS = (16, 32, 64, 64)


class PerceptualBackbone(nn.Module):
    """Four stages at 64, 32, 16 and 8 pixels; forward gives the feature map of each."""

    def __init__(self, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        self.channels = list(channels)
        self.stages = nn.ModuleList()
        for index, (inside, outside) in enumerate(zip((3, *channels), channels, strict=False)):
            stride = 1 if index == 0 else 2
            self.stages.append(nn.Sequential(nn.Conv2d(inside, outside, 3, stride, 1), nn.ReLU()))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps [n, channels[i], h, w] of pixels [n, 3, H, W] in [-1, 1]."""
        maps = []
        for stage in self.stages:
            pixels = stage(pixels)
            maps.append(pixels)
        return maps


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


def train_perceptual(folder: Path, work: Path, steps: int, scenes: int) -> None:
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
        losses = [nn.functional.cross_entropy(head(flat), truth[rows, i]) for i, head in enumerate(model.labels.values())]
        losses.append(nn.functional.mse_loss(model.geometry(flat), where[rows]))
        return torch.stack(losses).mean()

    fit(model, loss_at, Schedule(steps, 1.5e-3, 50, steps // 2), work / "perceptual.pt", weight_decay=0.02)
    save_perceptual_backbone(model.backbone, folder)


def save_perceptual_backbone(backbone: PerceptualBackbone, folder: Path) -> None:
    """Write config.json and model.safetensors (fp16)."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"channels": backbone.channels, "name": "seasons"}, indent=1))
    save_file({k: v.half().contiguous() for k, v in backbone.state_dict().items()}, folder / "model.safetensors")


def load_perceptual_backbone(folder: Path) -> PerceptualBackbone:
    """The backbone of a folder, in float32 and eval mode."""
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    backbone = PerceptualBackbone(tuple(config["channels"]))
    backbone.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
    return backbone.eval()
