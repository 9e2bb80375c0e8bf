"""What the parts of a picture look like: features of a raster of cells, by the networks that LPIPS compares with."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate

from steerwright.scoring.labels import IMAGE_SIZE, LabelScorer
from steerwright.scoring.perceptual import EMBEDDED, PUBLISHED, Perceptual

# Layers of middle depth, as PatchCore takes them: early ones know only edges, the last ones only what was trained.
LAYERS = {"seasons": (1, 2, 3), "alex": (1, 2, 3), "vgg": (1, 2, 3), "squeeze": (2, 3, 4)}
GRID = 8
SIDE = 512
"""Larger pictures are reduced to this side first."""


class PatchFeatures:
    """Features of the cells of a GRID x GRID raster over a picture; `source` as of `Perceptual`, UserError likewise.

    A network that was trained on sound pictures hardly answers to noise, so each cell's pixels are described too: their
    mean, their spread, and how much fine and coarse texture they have.
    """

    def __init__(self, source: str | Path = EMBEDDED, *, device: str | None = None, batch_size: int = 32) -> None:
        metric: Any = Perceptual(source, device=device, batch_size=batch_size)
        self.device, self.batch_size = metric.device, batch_size
        self.network: nn.Module = metric._metric.net
        self.scaling: nn.Module = metric._metric.scaling_layer
        self.layers = LAYERS[str(source) if str(source) in PUBLISHED else "seasons"]

    def __call__(self, pixels: NDArray[np.uint8]) -> Tensor:
        """float32 [n, GRID * GRID, d] on the CPU of uint8 images [n, H, W, 3]."""
        if len(pixels) == 0:
            raise ValueError("There are no images to look at.")
        parts = []
        with torch.inference_mode():
            for start in range(0, len(pixels), self.batch_size):
                parts.append(self._cells(pixels[start : start + self.batch_size]).float().cpu())
        return torch.cat(parts)

    def _cells(self, pixels: NDArray[np.uint8]) -> Tensor:
        images = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        if max(images.shape[-2:]) > SIDE:
            images = interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        maps = list(self.network(self.scaling(images)))
        # Each place sees its neighbours too: an artifact is rarely one pixel of a feature map.
        found = [adaptive_avg_pool2d(_smooth(maps[layer], 3), GRID) for layer in self.layers]
        mean = adaptive_avg_pool2d(images, GRID)
        spread = (adaptive_avg_pool2d(images.square(), GRID) - mean.square()).clamp(min=0).sqrt()
        smooth = _smooth(images, 3)
        fine, coarse = (images - smooth).abs(), (smooth - _smooth(smooth, 5)).abs()
        found += [mean, spread, adaptive_avg_pool2d(fine, GRID), adaptive_avg_pool2d(coarse, GRID)]
        return torch.cat(found, dim=1).flatten(2).transpose(1, 2)


def stage_features(scorer: LabelScorer, pixels: NDArray[np.uint8]) -> Tensor:
    """Mean and spread of what the later stages of the label classifier see: float32 [n, d] of uint8 [n, H, W, 3]."""
    stages: Any = scorer.network.stages
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), scorer.batch_size):
            some = torch.from_numpy(np.ascontiguousarray(pixels[start : start + scorer.batch_size]))
            maps = some.to(scorer.device).permute(0, 3, 1, 2).float() / 127.5 - 1
            if maps.shape[-2:] != (IMAGE_SIZE, IMAGE_SIZE):
                maps = interpolate(maps, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True, align_corners=False)
            found = []
            for number, stage in enumerate(stages):
                maps = stage(maps)
                # The first stage knows edges alone.
                found += [maps.mean((2, 3)), maps.std((2, 3))] if number else []
            parts.append(torch.cat(found, dim=1).float().cpu())
    return torch.cat(parts)


def _smooth(maps: Tensor, size: int) -> Tensor:
    return avg_pool2d(maps, size, stride=1, padding=size // 2, count_include_pad=False)
