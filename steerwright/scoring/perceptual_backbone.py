"""A small convolutional network whose feature maps the lpips package compares, in place of AlexNet's."""

import json
from pathlib import Path

from torch import Tensor, nn

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
    backbone.eval()
    return backbone
