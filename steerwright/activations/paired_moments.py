"""Running sums over contrast pairs: all that a mean-difference vector needs, however many pairs there are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor


@dataclass(slots=True, eq=False)
class PairedMoments:
    """What one hookpoint and branch gave for the pairs seen so far, step by step.

    A row is the mean over the tokens of one image. `positive`, `negative`: sums of rows, float64 [steps, d].
    `shuffled`: float64 [shuffles, steps, d], the sums of positive - negative with the two sides of each pair swapped at
    random (`shuffle_signs`): what is left of the difference when the labels mean nothing. `count`: int64 [steps],
    images of a side.
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

    def add(
        self,
        step: int,
        positive: Float[Tensor, "pairs d"],
        negative: Float[Tensor, "pairs d"],
        signs: Float64[Tensor, "shuffles pairs"],
    ) -> None:
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


def shuffle_signs(pairs: Sequence[str], shuffles: int, seed: int) -> Float64[Tensor, "shuffles pairs"]:
    """Which pairs are swapped in which shuffle: float64 [shuffles, pairs] of +1 and -1; [0, pairs] for too few pairs.

    `pairs`: the ids of all pairs of a concept, not those of a part. An id that stands there twice (another seed) has
    the same signs: two images of one pair are not two independent witnesses. The shuffles differ from each other and
    from what is there, also with all sides swapped, which changes no length. So a difference without meaning is longer
    than all of them once in `shuffles` + 1 (Phipson and Smyth 2010, arXiv:1603.05766): as many as there are is exact
    enumeration, and where there are fewer (see `fewest_pairs`) nothing can be said at that level.
    """
    generators = {
        pair: torch.Generator().manual_seed(
            int.from_bytes(hashlib.sha256(f"{seed}|{pair}".encode()).digest()[:7], "little")
        )
        for pair in pairs
    }
    number = {pair: number for number, pair in enumerate(generators)}
    place = torch.tensor([number[pair] for pair in pairs], dtype=torch.int64)
    if len(generators) < fewest_pairs(shuffles):
        return torch.zeros(0, len(pairs), dtype=torch.float64)
    kept: list[Tensor] = []
    known = {b"\1" * len(generators)}
    while len(kept) < shuffles:
        drawn = [torch.randint(0, 2, (shuffles,), generator=one, dtype=torch.float64) for one in generators.values()]
        for signs in torch.stack(drawn, dim=1) * 2 - 1:
            alike = (signs * signs[0]).to(torch.int8).numpy().tobytes()
            if len(kept) < shuffles and alike not in known:
                known.add(alike)
                kept.append(signs[place])
    return torch.stack(kept) if kept else torch.zeros(0, len(pairs), dtype=torch.float64)


def fewest_pairs(shuffles: int) -> int:
    """How many pairs have `shuffles` different swaps: n pairs have 2^(n-1) - 1, without the one that is there."""
    return 1 + shuffles.bit_length()
