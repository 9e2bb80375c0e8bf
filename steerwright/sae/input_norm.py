"""What is done to rows before they are encoded, and undone after they are decoded."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class NoNorm:
    """Rows as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class ScaleBy:
    """Rows times a constant, for instance so that their mean norm is sqrt(d)."""

    factor: float


@dataclass(frozen=True, slots=True, eq=False)
class PerRow:
    """Each row less its mean, over its standard deviation + eps; `ddof` 1 is Bessel's correction (SAeUron), 0 not.

    Undone by the deviation alone, without eps, as OpenAI, SAELens and SAeUron undo it.
    """

    eps: float
    ddof: Literal[0, 1] = 0


@dataclass(frozen=True, slots=True, eq=False)
class ConstantNorm:
    """Each row scaled to norm sqrt(d). A row of zeros stays as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Standardise:
    """Rows less `mean` [d], over `std` [d] (statistics of the training rows)."""

    mean: Tensor
    std: Tensor


InputNorm = NoNorm | ScaleBy | PerRow | ConstantNorm | Standardise

PER_ROW = (PerRow, ConstantNorm)
"""Norms that only the row itself can undo."""


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The way back from what was encoded to the rows' own units: times `scale`, plus `shift`.

    Each is a number, a row [d], or one number for each row [rows, 1].
    """

    scale: Tensor | float
    shift: Tensor | float

    def undo(self, rows: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
        """`rows` [rows, d] in their own units."""
        return self.difference(rows) if isinstance(self.shift, float) else self.difference(rows) + self.shift

    def difference(self, rows: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
        """What a difference of two encoded rows [rows, d] is in the rows' own units: the shift cancels."""
        return rows if isinstance(self.scale, float) and self.scale == 1.0 else rows * self.scale


def units(norm: InputNorm, rows: Float[Tensor, "rows d"]) -> Units:
    """How `norm` is undone for these `rows` [rows, d]; in their dtype and on their device."""
    match norm:
        case NoNorm():
            return Units(1.0, 0.0)
        case ScaleBy(factor):
            return Units(1 / factor, 0.0)
        case PerRow(_, ddof):
            return Units(rows.std(1, correction=ddof, keepdim=True), rows.mean(1, keepdim=True))
        case ConstantNorm():
            norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True) / rows.shape[1] ** 0.5
            return Units(torch.where(norms > 0, norms, 1.0), 0.0)
        case Standardise(mean, std):
            return Units(std.to(rows), mean.to(rows))


def normalised(norm: InputNorm, rows: Float[Tensor, "rows d"]) -> tuple[Float[Tensor, "rows d"], Units]:
    """`rows` [rows, d] as they are encoded, and how that is undone."""
    back = units(norm, rows)
    if isinstance(norm, NoNorm):
        return rows, back
    if isinstance(norm, ScaleBy):
        return rows * norm.factor, back
    centred = rows if isinstance(back.shift, float) else rows - back.shift
    divisor = back.scale + norm.eps if isinstance(norm, PerRow) else back.scale
    return centred / divisor, back
