"""Perceptual distance through the lpips package, on the embedded backbone or on AlexNet.

LPIPS (arXiv:1801.03924) compares unit-normalised feature maps of a network. With AlexNet the published linear weights
apply; with the embedded backbone there are none, so its layers count alike (the package's `lpips=False`). The two are
different scores and carry different names.
"""

import contextlib
import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steerwright.errors import UserError
from steerwright.models.building import building

EMBEDDED = "models/seasons-lpips"
PUBLISHED = ("alex", "vgg", "squeeze")


class Perceptual:
    """LPIPS distance between pairs of images; 0 for equal ones, larger for more different ones.

    `source` is a folder with a perceptual backbone, or one of the package's networks (`alex`, `vgg`, `squeeze`), whose
    weights come from the cache or the network; UserError where they cannot be had. `name` is the score's name.
    """

    def __init__(self, source: str | Path = EMBEDDED, *, device: str | None = None, batch_size: int = 64) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.batch_size = batch_size
        self.name = score_name(source)
        metric = _published(str(source)) if str(source) in PUBLISHED else on_backbone(_backbone(Path(source)))
        self._metric = metric.to(self.device).eval()

    def distances(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Tensor:
        """Distance [N] of image i of `first` to image i of `second`, both uint8 [N, H, W, 3], float32 on the CPU."""
        if first.shape != second.shape:
            raise ValueError(f"Images to compare need one shape, got {first.shape} and {second.shape}.")
        parts = []
        with torch.inference_mode():
            for start in range(0, len(first), self.batch_size):
                window = slice(start, start + self.batch_size)
                values = self._metric(_to_unit(first[window]).to(self.device), _to_unit(second[window]).to(self.device))
                parts.append(values.reshape(-1).float().cpu())
        return torch.cat(parts) if parts else torch.zeros(0)


def score_name(source: str | Path) -> str:
    """What the score of a network or a folder with a backbone is called."""
    return f"lpips_{source}" if str(source) in PUBLISHED else "lpips_seasons"


def on_backbone(backbone: nn.Module) -> nn.Module:
    """The lpips package's metric on our own feature maps, its layers unweighted.

    `backbone` maps pixels [N, 3, H, W] in [-1, 1] to a list of feature maps, whose widths are `backbone.channels`.
    """
    import lpips

    # The package can only be built around a network of its own: the smallest one, untrained, makes room for ours.
    with building(), _no_warnings(), torch.random.fork_rng(devices=[]):
        metric = lpips.LPIPS(pretrained=False, net="squeeze", lpips=False, pnet_rand=True, verbose=False)
    widths: Any = backbone.channels
    metric.net = backbone
    metric.chns = list(widths)
    metric.L = len(metric.chns)
    metric.pnet_type = "seasons"
    # Its input scaling is ImageNet's; our backbone learnt on pixels in [-1, 1].
    metric.scaling_layer = nn.Identity()
    return metric.requires_grad_(False)


def _backbone(folder: Path) -> nn.Module:
    if not folder.is_dir():
        raise UserError(
            f"There is no perceptual backbone {str(folder)!r}: neither a folder nor one of {', '.join(PUBLISHED)}. "
            f"The embedded one is {EMBEDDED}."
        )
    # A module draws its first weights before it loads its own: the caller's random numbers must not notice.
    with building(), torch.random.fork_rng(devices=[]):
        return load_perceptual_backbone(folder)


def _published(name: str) -> nn.Module:
    import lpips

    try:
        # torchvision announces and draws its download bar by print.
        sink = io.StringIO()
        with (
            building(),
            _no_warnings(),
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            return lpips.LPIPS(net=name, verbose=False).requires_grad_(False)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"The weights of the {name} network for LPIPS are neither in torch's cache nor to be had from the network. "
            f"Connect once to fetch them, or use the embedded {EMBEDDED}."
        ) from error


@contextmanager
def _no_warnings() -> Iterator[None]:
    """The package calls torchvision in a way that torchvision has deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _to_unit(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 [N, H, W, 3] as float32 [N, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


# A small convolutional network whose feature maps the lpips package compares, in place of AlexNet's.

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
