"""Latents of rows, kept sparse: which latents are active in each row, and how much."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class SparseLatents:
    """`indices` int64 and `values`, both [rows, places]: the active latents of each row, the most active first.

    Rows may have fewer active latents than there are places: unused places are last, with index -1 and value 0. A
    latent whose value is 0 is not active and never listed.
    """

    indices: Int64[Tensor, "rows places"]
    values: Float[Tensor, "rows places"]
    size: int
    """Number of latents there are, n."""

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def used(self) -> Bool[Tensor, "rows places"]:
        """Bool [rows, places]: which places hold a latent."""
        return self.indices >= 0

    def dense(self) -> Float[Tensor, "rows n"]:
        """All latents [rows, n], zeros where they are not active; for small tests, never for large n."""
        out = self.values.new_zeros(len(self.indices), self.size + 1)
        out.scatter_(1, torch.where(self.used, self.indices, self.size), self.values)
        return out[:, : self.size]
