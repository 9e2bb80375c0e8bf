"""Synthetic rows: sums of few known atoms, about a mean, with noise. The same on every machine for a seed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

ACTIVE = 24
NOISE = 0.05


class PlantedRows:
    """Rows of `width` numbers, each the sum of 24 of `atoms` unit directions that are chosen by Zipf's law.

    The seed is none that a library would start its own directions from: with the same one it would know the atoms.
    Strengths are exponential plus a half. The mean norm is near sqrt(width); noise has 5 % of that, the mean 30 %.
    """

    def __init__(self, width: int, atoms: int, seed: int = 20_480_000) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.atoms = functional.normalize(torch.randn(atoms, width, generator=generator), dim=1)
        self.mean = 0.3 * torch.randn(width, generator=generator)
        self._share = 1 / torch.arange(1, atoms + 1, dtype=torch.float64) ** 0.7
        self._width = width

    def batch(self, rows: int, seed: int) -> Tensor:
        """Float32 [rows, width]; another seed, other rows of the same atoms."""
        generator = torch.Generator().manual_seed(seed)
        # With replacement: a row that draws an atom twice has it twice as strong, and drawing stays fast.
        chosen = torch.multinomial(self._share, rows * ACTIVE, True, generator=generator).view(rows, ACTIVE)
        strength = 0.5 + torch.empty(rows, ACTIVE).exponential_(generator=generator)
        # E[strength^2] = 3.25; so scaled, the atoms' part has norm sqrt(width).
        strength *= (self._width / (3.25 * ACTIVE)) ** 0.5
        noise = NOISE * torch.randn(rows, self._width, generator=generator)
        return functional.embedding_bag(chosen, self.atoms, mode="sum", per_sample_weights=strength) + self.mean + noise
