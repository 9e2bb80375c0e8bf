"""Sound pictures spoilt on purpose, and a judge that learns from them what spoilt pictures look like.

Steered pictures break in ways of their own: blobs of another scene, bent shapes, stained colours. After CutPaste
(arXiv:2104.04015): such faults are planted in unsteered pictures, and a linear discriminant learns to tell the spoilt
ones from the whole ones. It never sees a steered picture, so it takes no method's side.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, pad

Pictures = NDArray[np.uint8]
FAULTS = ("patchwork", "warp", "stain", "cut")
# The discriminant's ridge, as a share of the mean variance within, and how far out a feature may lie.
RIDGE, FURTHEST = 1.0, 5.0


def spoilt(pixels: Pictures, seed: int) -> dict[str, Pictures]:
    """Fault -> the pictures [n, H, W, 3] with it; the same pictures and seed give the same faults.

    `patchwork`: soft blobs of two other pictures; `warp`: bent by a smooth field; `stain`: blobs of another colour;
    `cut`: four square pieces of another picture. Raises ValueError for fewer than two pictures.
    """
    if len(pixels) < 2:
        raise ValueError("Faults are pieces of other pictures; there must be two at least.")
    draw = torch.Generator().manual_seed(seed)
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
    # A step along a random cycle: every picture gets another one.
    order = torch.randperm(len(images), generator=draw)
    other, third = torch.empty_like(order), torch.empty_like(order)
    other[order], third[order] = order.roll(1), order.roll(-1)
    made = {
        "patchwork": _blend(_blend(images, images[other], 6, 0.3, draw), images[third], 8, 0.5, draw),
        "warp": _warp(images, draw),
        "stain": _blend(images, images + 70 * torch.randn(len(images), 3, 1, 1, generator=draw), 6, 0.4, draw),
        "cut": _cut(images, images[other], draw),
    }
    return {name: found.clamp(0, 255).permute(0, 2, 3, 1).round().byte().numpy() for name, found in made.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Discriminant:
    """A direction in standardised features: the further along it, the more a picture looks spoilt."""

    mean: Tensor
    scale: Tensor
    direction: Tensor

    @classmethod
    def of(cls, sound: Tensor, faulty: Tensor) -> "Discriminant":
        """From features [n, d] of sound and [m, d] of spoilt pictures: Fisher's linear discriminant with a ridge."""
        mean, scale = sound.double().mean(0), sound.double().std(0).clamp(min=1e-6)
        one, other = (((rows.double() - mean) / scale).clamp(-FURTHEST, FURTHEST) for rows in (sound, faulty))
        within = (torch.cov(one.T) + torch.cov(other.T)) / 2
        ridge = RIDGE * within.diagonal().mean() * torch.eye(len(within), dtype=within.dtype)
        return cls(mean, scale, torch.linalg.solve(within + ridge, other.mean(0) - one.mean(0)))

    def __call__(self, rows: Tensor) -> Tensor:
        """How spoilt pictures with the features [n, d] look, float64 [n]."""
        return ((rows.double() - self.mean) / self.scale).clamp(-FURTHEST, FURTHEST) @ self.direction


def _field(images: Tensor, channels: int, cells: int, draw: torch.Generator) -> Tensor:
    """A smooth random field [n, channels, H, W] with features of about a `cells`-th of the picture."""
    coarse = torch.randn(len(images), channels, cells, cells, generator=draw)
    return interpolate(coarse, images.shape[-2:], mode="bicubic")


def _blend(images: Tensor, others: Tensor, cells: int, level: float, draw: torch.Generator) -> Tensor:
    mask = torch.sigmoid((_field(images, 1, cells, draw) - level) * 6)
    return images * (1 - mask) + others * mask


def _warp(images: Tensor, draw: torch.Generator) -> Tensor:
    strength = 0.08 + 0.12 * torch.rand(len(images), 1, 1, 1, generator=draw)
    height, width = images.shape[-2:]
    places = torch.meshgrid(torch.linspace(-1, 1, width), torch.linspace(-1, 1, height), indexing="xy")
    moved = torch.stack(places, dim=-1) + strength * _field(images, 2, 7, draw).permute(0, 2, 3, 1)
    return grid_sample(images, moved, padding_mode="reflection", align_corners=True)


def _cut(images: Tensor, others: Tensor, draw: torch.Generator) -> Tensor:
    made = images.clone()
    height, width = images.shape[-2:]
    for picture, other in zip(made, others, strict=True):
        for _ in range(4):
            side = int(torch.randint(min(height, width) // 8, min(height, width) * 3 // 8, (), generator=draw))
            top, left, above, beside = (
                int(torch.randint(0, room - side, (), generator=draw)) for room in (height, width, height, width)
            )
            picture[:, top : top + side, left : left + side] = other[
                :, above : above + side, beside : beside + side
            ]  # fmt: skip
    # Its edges would give it away, and no steered picture has such.
    return avg_pool2d(pad(made, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
