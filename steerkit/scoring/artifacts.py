"""Pictures unlike every unsteered picture, in some part or as a whole: artifacts of steering.

Parts are compared after PatchCore (arXiv:2106.08265): the cells of unsteered pictures are a bank of what parts of
sound pictures look like, and a picture's score is how far its strangest cells are from the nearest cell of the bank. So
a picture from which an object was erased is sound if every part is, though no unsteered picture is like it. Wholes are
compared by mean and spread of the cells' features: grey or faded pictures are strange in no single part. Nothing but
unsteered pictures decides what is sound, and the threshold is one that they themselves cross at a known rate.

What this does not see: parts that are all sound and do not belong together, such as half a horse on a boat. Blemishes
smaller than a cell, mild blur and double exposures are seen in some pictures only.
"""

import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerkit.scoring.patch_features import PatchFeatures
from steerkit.scoring.perceptual import EMBEDDED

Floats = NDArray[np.float64]
FOLDS = 5
# The score of parts is the mean over this many of the strangest cells.
STRANGEST = 2
# Ridges of the whitening, as shares of the mean variance: there are many cells, and few pictures.
CELL_RIDGE, PICTURE_RIDGE = 0.01, 0.1
CHUNK = 4096


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
    """What pictures of one fold are compared with: cells and wholes of all other folds' reference pictures."""

    of_cells: Whitening
    of_wholes: Whitening
    cells: Tensor
    wholes: Tensor

    @classmethod
    def of(cls, cells: Tensor, size: int, rng: np.random.Generator) -> "Bank":
        """From cells [n, places, d], of which at most `size` are kept."""
        rows, wholes = cells.flatten(0, 1), _whole(cells)
        of_cells, of_wholes = Whitening.of(rows, CELL_RIDGE), Whitening.of(wholes, PICTURE_RIDGE)
        kept = torch.from_numpy(np.sort(rng.permutation(len(rows))[:size]))
        return cls(of_cells, of_wholes, of_cells(rows[kept]), of_wholes(wholes))

    def distances(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Of cells [n, places, d]: distances [n] of the strangest cells, and of the wholes."""
        nearest = _nearest(self.of_cells(cells.flatten(0, 1)), self.cells).reshape(len(cells), -1)
        strangest = nearest.topk(min(STRANGEST, nearest.shape[1]), dim=1).values.mean(1)
        return strangest, _nearest(self.of_wholes(_whole(cells)), self.wholes)


class ArtifactDetector:
    """Scores of pictures against reference pictures; one above 1 is an artifact.

    No picture is compared with pictures of its own prompt: prompts are dealt into `FOLDS` folds, those of the reference
    pictures evenly and all others by their id, and a picture is compared with the other folds' reference pictures
    only. So reference pictures are scored as any others are, and their `quantile`, where the score is 1, is one that
    new unsteered pictures cross about as often. `rate` is the share of reference pictures above it.

    `pixels` uint8 [n, H, W, 3] are unsteered pictures, `prompts` [n] their prompts' ids. At most `bank` cells are kept
    for a fold, drawn by `seed`. `source` as of `Perceptual`. Raises ValueError for fewer than `FOLDS` prompts.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        prompts: Sequence[Hashable],
        *,
        source: str | Path = EMBEDDED,
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
        self._folds = dict(zip(names, (rng.permutation(len(names)) % FOLDS).tolist(), strict=True))
        folds = torch.tensor([self._folds[prompt] for prompt in prompts])
        cells = self._features(pixels)
        self._banks = [Bank.of(cells[folds != fold], bank, rng) for fold in range(FOLDS)]
        parts, wholes = self._distances(cells, prompts)
        # Half of the rate for parts, half for wholes; together they are scaled to the rate that is asked for.
        each = 1 - (1 - quantile) / 2
        units = float(np.quantile(parts, each)), float(np.quantile(wholes, each))
        top = float(np.quantile(np.maximum(parts / units[0], wholes / units[1]), quantile, method="higher"))
        self._units = (units[0] * top, units[1] * top)
        self.rate = float((self._combined(parts, wholes) > 1).mean())

    def scores(self, pixels: NDArray[np.uint8], prompts: Sequence[Hashable]) -> Floats:
        """How strange pictures are [n]: uint8 [n, H, W, 3], and the ids of their prompts [n]."""
        return self._combined(*self._distances(self._features(pixels), prompts))

    def found(self, pixels: NDArray[np.uint8], prompts: Sequence[Hashable]) -> NDArray[np.bool_]:
        """Which pictures are artifacts [n]."""
        return self.scores(pixels, prompts) > 1

    def _combined(self, parts: Floats, wholes: Floats) -> Floats:
        return np.maximum(parts / self._units[0], wholes / self._units[1])

    def _distances(self, cells: Tensor, prompts: Sequence[Hashable]) -> tuple[Floats, Floats]:
        """Distances [n] of the strangest parts, and of the wholes, of cells [n, places, d]."""
        own = torch.tensor([self._fold(prompt) for prompt in prompts])
        parts, wholes = torch.zeros(len(cells)), torch.zeros(len(cells))
        for fold in own.unique().tolist():
            rows = (own == fold).nonzero().flatten()
            parts[rows], wholes[rows] = self._banks[fold].distances(cells[rows])
        return parts.double().numpy(), wholes.double().numpy()

    def _fold(self, prompt: Hashable) -> int:
        found = self._folds.get(prompt)
        return zlib.crc32(str(prompt).encode()) % FOLDS if found is None else found


def _whole(cells: Tensor) -> Tensor:
    """Mean and spread of the cells' features [n, 2 d]."""
    return torch.cat([cells.mean(1), cells.std(1)], dim=1)


def _nearest(rows: Tensor, bank: Tensor) -> Tensor:
    """Distance [n] of each of `rows` [n, d] to the nearest of `bank` [m, d]."""
    return torch.cat([torch.cdist(part, bank).amin(1) for part in rows.split(CHUNK)])
