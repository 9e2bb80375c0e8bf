"""Pictures unlike every unsteered picture, or like pictures that were spoilt: artifacts of steering.

Three measures, each of which unsteered pictures exceed equally rarely:

- parts, after PatchCore (arXiv:2106.08265): the cells of unsteered pictures are a bank of what parts of sound pictures
  look like, and a picture's score is how far its strangest cells are from the nearest cell of the bank. So a picture
  from which an object was erased is sound if every part is, though no unsteered picture is like it;
- wholes, by mean and spread of the cells' features: grey or faded pictures are strange in no single part;
- faults, after CutPaste (arXiv:2104.04015): what tells unsteered pictures from copies of them with planted faults
  (`steerwright.scoring.artifacts`): blobs of another scene, bent shapes, stains.

Nothing but unsteered pictures, of the same kind of prompts, decides what is sound, and the threshold is one that they
themselves cross at a known rate. Not every artifact is seen: small blemishes and blur often are not.
"""

import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, pad

from steerwright.scoring.labels import LabelScorer
from steerwright.scoring.patch_features import PatchFeatures, stage_features
from steerwright.scoring.perceptual import EMBEDDED

# Sound pictures spoilt on purpose, and a judge that learns from them what spoilt pictures look like.
#
# Steered pictures break in ways of their own: blobs of another scene, bent shapes, stained colours. After CutPaste
# (arXiv:2104.04015): such faults are planted in unsteered pictures, and a linear discriminant learns to tell the spoilt
# ones from the whole ones. It never sees a steered picture, so it takes no method's side.

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


Floats = NDArray[np.float64]
FOLDS = 5
# The score of parts is the mean over this many of the strangest cells.
STRANGEST = 2
# Ridges of the whitening, as shares of the mean variance: there are many cells, and few pictures.
CELL_RIDGE, PICTURE_RIDGE = 0.01, 0.1
CHUNK = 4096
# Spoilt copies of every reference picture, of each fault.
COPIES = 2


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """Features in units of how much they vary together over sound pictures, which makes rare directions count."""

    mean: Tensor
    matrix: Tensor

    @classmethod
    def of(cls, rows: Tensor, ridge: float) -> "Whitening":
        """From `rows` [n, d]: each feature scaled to variance 1, then all rotated and divided by their spread."""
        values = rows.double()
        mean, scale = values.mean(0), values.std(0).clamp(min=1e-3)
        scaled = (values - mean) / scale
        variances, directions = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
        matrix = directions / (variances.clamp(min=0) + ridge).sqrt() / scale.unsqueeze(1)
        return cls(mean.float(), matrix.float())

    def __call__(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) @ self.matrix


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """What pictures of one fold are compared with: cells and wholes of all other folds' reference pictures, and what
    tells those from spoilt copies of them."""

    of_cells: Whitening
    of_wholes: Whitening
    cells: Tensor
    wholes: Tensor
    faults: Discriminant

    @classmethod
    def of(cls, cells: Tensor, faults: Discriminant, size: int, rng: np.random.Generator) -> "Bank":
        """From cells [n, places, d], of which at most `size` are kept."""
        rows, wholes = cells.flatten(0, 1), whole(cells)
        of_cells, of_wholes = Whitening.of(rows, CELL_RIDGE), Whitening.of(wholes, PICTURE_RIDGE)
        kept = torch.from_numpy(np.sort(rng.permutation(len(rows))[:size]))
        return cls(of_cells, of_wholes, of_cells(rows[kept]), of_wholes(wholes), faults)

    def measures(self, cells: Tensor, described: Tensor) -> Tensor:
        """Parts, wholes and faults [n, 3] of pictures with the cells [n, places, d], described by [n, e]."""
        nearest = _nearest(self.of_cells(cells.flatten(0, 1)), self.cells).reshape(len(cells), -1)
        strangest = nearest.topk(min(STRANGEST, nearest.shape[1]), dim=1).values.mean(1)
        far = _nearest(self.of_wholes(whole(cells)), self.wholes)
        return torch.stack([strangest.double(), far.double(), self.faults(described)], dim=1)


class ArtifactDetector:
    """Scores of pictures against reference pictures; one above 1 is an artifact.

    No picture is compared with pictures of its own prompt: prompts are dealt into `FOLDS` folds, those of the reference
    pictures evenly and all others by their id, and a picture is compared with the other folds' reference pictures
    only. So reference pictures are scored as any others are, and their `quantile`, where the score is 1, is one that
    new unsteered pictures cross about as often. `rate` is the share of reference pictures above it.

    `pixels` uint8 [n, H, W, 3] are unsteered pictures, `prompts` [n] their prompts' ids. At most `bank` cells are kept
    for a fold, drawn by `seed`. `source` as of `Perceptual`; with a label `classifier` its features tell spoilt
    pictures from sound ones, and better than those of `source`. Raises ValueError for fewer than `FOLDS` prompts.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        prompts: Sequence[Hashable],
        *,
        source: str | Path = EMBEDDED,
        classifier: LabelScorer | None = None,
        quantile: float = 0.95,
        bank: int = 6144,
        seed: int = 0,
        device: str | None = None,
    ) -> None:
        names = list(dict.fromkeys(prompts))
        if len(names) < FOLDS:
            raise ValueError(f"Artifacts need unsteered pictures of at least {FOLDS} prompts, got {len(names)}.")
        rng = np.random.default_rng(seed)
        self._features = PatchFeatures(source, device=device)
        self._classifier = classifier
        self._folds = dict(zip(names, (rng.permutation(len(names)) % FOLDS).tolist(), strict=True))
        folds = torch.tensor([self._folds[prompt] for prompt in prompts])
        cells = self._features(pixels)
        described = self._described(pixels, cells)
        self._banks = []
        for fold in range(FOLDS):
            others = folds != fold
            copies = [part for copy in range(COPIES) for part in spoilt(pixels[others.numpy()], seed + copy).values()]
            faulty = torch.cat([self._described(part, None) for part in copies])
            faults = Discriminant.of(described[others], faulty)
            self._banks.append(Bank.of(cells[others], faults, bank, rng))
        found = self._measures(cells, described, prompts)
        # Each measure in units of its own median and quantile; together they are scaled to the rate that is asked for.
        middle = np.median(found, axis=0)
        each = np.quantile(found, 1 - (1 - quantile) / found.shape[1], axis=0)
        self._middle, self._spread = middle, np.maximum(each - middle, 1e-9)
        self._spread = self._spread * np.quantile(self._combined(found), quantile, method="higher")
        self.rate = float((self._combined(found) > 1).mean())

    def scores(self, pixels: NDArray[np.uint8], prompts: Sequence[Hashable]) -> Floats:
        """How strange pictures are [n]: uint8 [n, H, W, 3], and the ids of their prompts [n]."""
        return self._combined(self.measures(pixels, prompts))

    def measures(self, pixels: NDArray[np.uint8], prompts: Sequence[Hashable]) -> Floats:
        """Parts, wholes and faults as they are measured [n, 3]."""
        cells = self._features(pixels)
        return self._measures(cells, self._described(pixels, cells), prompts)

    def found(self, pixels: NDArray[np.uint8], prompts: Sequence[Hashable]) -> NDArray[np.bool_]:
        """Which pictures are artifacts [n]."""
        return self.scores(pixels, prompts) > 1

    def _combined(self, measures: Floats) -> Floats:
        """The largest of the measures [n, 3]; a picture that is as ordinary as the median one has 0."""
        largest: Floats = ((measures - self._middle) / self._spread).max(axis=1)
        return largest

    def _measures(self, cells: Tensor, described: Tensor, prompts: Sequence[Hashable]) -> Floats:
        own = torch.tensor([self._fold(prompt) for prompt in prompts])
        found = torch.zeros(len(cells), 3, dtype=torch.float64)
        for fold in own.unique().tolist():
            rows = (own == fold).nonzero().flatten()
            found[rows] = self._banks[fold].measures(cells[rows], described[rows])
        scores: NDArray[np.float64] = found.numpy()
        return scores

    def _described(self, pixels: NDArray[np.uint8], cells: Tensor | None) -> Tensor:
        """Features [n, e] by which spoilt pictures are told from sound ones."""
        if self._classifier is not None:
            return stage_features(self._classifier, pixels)
        return whole(self._features(pixels) if cells is None else cells)

    def _fold(self, prompt: Hashable) -> int:
        found = self._folds.get(prompt)
        return zlib.crc32(str(prompt).encode()) % FOLDS if found is None else found


def whole(cells: Tensor) -> Tensor:
    """Mean and spread of the cells' features [n, 2 d]."""
    return torch.cat([cells.mean(1), cells.std(1)], dim=1)


def _nearest(rows: Tensor, bank: Tensor) -> Tensor:
    """Distance [n] of each of `rows` [n, d] to the nearest of `bank` [m, d]."""
    return torch.cat([torch.cdist(part, bank).amin(1) for part in rows.split(CHUNK)])
