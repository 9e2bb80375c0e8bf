"""One direction: a unit vector, and the length that it had before it was made one."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# A position where both sides of every pair agree (BOS under a causal mask) differs by rounding only. Scaled to
# length one that rounding would steer, so whatever is this much shorter than the longest position counts as zero.
NEGLIGIBLE = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """A direction of one width `d`, either the same for all tokens or one per token position.

    `unit`: float32 [d] or [tokens, d], every row of length 1, or all zeros where there is no direction.
    `norm`: float32 [] or [tokens], the distance between the two classes' means along `unit`, in the activation's own
    units; for the mean difference this is its length. `origin`: float32, shaped like `norm`, where the negative class's
    mean lies along `unit`, so that the positive one's lies at origin + norm; None where it is not known.
    Raises ValueError when shapes, lengths or values are not so.
    """

    unit: Tensor
    norm: Tensor
    origin: Tensor | None = None

    def __post_init__(self) -> None:
        if self.unit.ndim not in (1, 2) or self.norm.shape != self.unit.shape[:-1]:
            raise ValueError(
                f"A direction is [d] with norm [] or [tokens, d] with norm [tokens]; "
                f"found {list(self.unit.shape)} with norm {list(self.norm.shape)}."
            )
        if not (torch.isfinite(self.unit).all() and torch.isfinite(self.norm).all()):
            raise ValueError("A direction holds values that are not finite.")
        if self.origin is not None and (self.origin.shape != self.norm.shape or not torch.isfinite(self.origin).all()):
            raise ValueError(f"The origin of a direction is finite and shaped like its norm, {list(self.norm.shape)}.")
        lengths = self.unit.double().norm(dim=-1)
        expected = (self.norm > 0).double()
        if (self.norm < 0).any() or ((lengths - expected).abs() > 1e-4).any():
            raise ValueError("Every row of a direction has length 1 and a positive norm, or length 0 and norm 0.")

    @property
    def width(self) -> int:
        return int(self.unit.shape[-1])

    @property
    def per_position(self) -> bool:
        return bool(self.unit.ndim == 2)


def normalised(raw: Float[Tensor, "*tokens d"], norm: Float[Tensor, "*tokens"] | None = None) -> Direction:
    """Split `raw` [d] or [tokens, d] into unit float32 vectors and their norms (the lengths of `raw` if not given).

    Rows shorter than 1e-5 of the longest become zero. Raises ValueError when nothing but zeros is left.
    """
    raw = raw.double()
    length = raw.norm(dim=-1)
    longest = length.max()
    if not torch.isfinite(length).all():
        raise ValueError("the activations hold values that are not finite")
    if longest == 0:
        raise ValueError("positive and negative activations coincide, so there is no direction")
    kept = length > NEGLIGIBLE * longest
    unit = torch.where(kept[..., None], raw / length.clamp(min=torch.finfo(raw.dtype).tiny)[..., None], 0.0)
    size = length if norm is None else norm.double()
    return Direction(unit.float(), torch.where(kept, size, 0.0).float())
