"""What is done to rows before they are encoded, and undone after they are decoded."""

from dataclasses import dataclass
from typing import Literal

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
    """Each row less its mean, over its standard deviation + eps; `ddof` 1 is Bessel's correction (SAeUron), 0 not."""

    eps: float
    ddof: Literal[0, 1] = 0


@dataclass(frozen=True, slots=True, eq=False)
class ConstantNorm:
    """Each row scaled to norm sqrt(d)."""


@dataclass(frozen=True, slots=True, eq=False)
class Standardise:
    """Rows less `mean` [d], over `std` [d] (statistics of the training rows)."""

    mean: Tensor
    std: Tensor


InputNorm = NoNorm | ScaleBy | PerRow | ConstantNorm | Standardise
