"""From numbers to places in a drawing: round ticks, a linear scale, and how numbers are written."""

import math
from dataclasses import dataclass

SERIES = ("first", "second", "third", "fourth", "fifth")
MINUS = "\u2212"


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps `low`..`high` linearly to the pixels `start`..`end` (which may run backwards)."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """About `wanted` round numbers from at or below `low` to at or above `high`, 1, 2 or 5 times a power of ten apart.

    Raises ValueError unless both are finite and low <= high.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"No ticks lie between {low} and {high}.")
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-290):
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / max(wanted - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = 3 - math.floor(math.log10(step))
    return [round(place * step, digits) for place in range(first, last + 1)]


def number(value: float) -> str:
    """Up to three significant digits, with a true minus; a dash for what is not defined."""
    if not math.isfinite(value):
        return "\u2013"
    return f"{value:.3g}".replace("-", MINUS)
