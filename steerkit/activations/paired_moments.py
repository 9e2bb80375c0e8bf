"""Running sums over contrast pairs: all that a mean-difference vector needs, however many pairs there are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True, eq=False)
class PairedMoments:
    """What one hookpoint and branch gave for the pairs seen so far, step by step.

    A row is the mean over the tokens of one image. `positive`, `negative`: sums of rows, float64 [steps, d].
    `shuffled`: float64 [shuffles, steps, d], the sums of positive - negative with the two sides of each pair swapped at
    random: what is left of the difference when the labels mean nothing. `count`: int64 [steps], images of a side.
    Tensors stay on the device of the model; adding to them does not make it wait.
    """

    positive: Tensor
    negative: Tensor
    shuffled: Tensor
    count: Tensor

    @classmethod
    def empty(cls, steps: int, width: int, shuffles: int, device: torch.device | None = None) -> PairedMoments:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        count = torch.zeros(steps, dtype=torch.int64)
        return cls(zeros(steps, width), zeros(steps, width), zeros(shuffles, steps, width), count)

    def add(self, step: int, positive: Tensor, negative: Tensor, signs: Tensor) -> None:
        """Take in the rows of some pairs at `step`, both [pairs, d]; `signs` [shuffles, pairs] holds +1 and -1."""
        above, below = positive.double(), negative.double()
        self.positive[step] += above.sum(0)
        self.negative[step] += below.sum(0)
        self.shuffled[:, step] += signs @ (above - below)
        self.count[step] += len(above)

    def merge(self, other: PairedMoments) -> None:
        """Take in all that `other` has seen."""
        self.positive += other.positive
        self.negative += other.negative
        self.shuffled += other.shuffled
        self.count += other.count


def shuffle_signs(pairs: Sequence[str], shuffles: int, seed: int) -> Tensor:
    """Which pairs are swapped in which shuffle: float64 [shuffles, pairs] of +1 and -1.

    A pair's signs depend on its id and `seed` alone, and all its seeds share them: two images of one pair are not two
    independent witnesses.
    """
    columns = []
    for pair in pairs:
        digest = hashlib.sha256(f"{seed}|{pair}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
        columns.append(torch.randint(0, 2, (shuffles,), generator=generator, dtype=torch.float64) * 2 - 1)
    return torch.stack(columns, dim=1) if columns else torch.zeros(shuffles, 0, dtype=torch.float64)
