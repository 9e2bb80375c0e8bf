"""The look of the lab's drawings: the page's own colours, which follow it between light and dark."""

import math
from dataclasses import dataclass
from pathlib import Path

from steerwright.report.html.theme import DARK, LIGHT

# From numbers to places in a drawing: round ticks, a linear scale, and how numbers are written.

SERIES = ("first", "second", "third", "fourth", "fifth")
MINUS = "\u2212"


@dataclass(frozen=True, slots=True)
class ChartScale:
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


# The first is what is looked at; "plain" is what it is compared with.
_LIGHT = {
    "plain": LIGHT["unsteered"], "first": LIGHT["adaptive"], "second": LIGHT["fixed"], "third": LIGHT["prompt"],
    "fourth": "#2f7d5b", "fifth": "#b04a5f",
}  # fmt: skip
_DARK = {
    "plain": DARK["unsteered"], "first": DARK["adaptive"], "second": DARK["fixed"], "third": DARK["prompt"],
    "fourth": "#7cc8a4", "fifth": "#ec94a4",
}  # fmt: skip


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--chart-{name}:{value};" for name, value in colours.items())


CHART_STYLE = (
    f":root{{{_variables(_LIGHT)}}}.dark{{{_variables(_DARK)}}}"
    + "".join(f".lab-chart .{name}{{--colour:var(--chart-{name})}}" for name in ("plain", *SERIES))
    + Path(__file__).with_name("charts.css").read_text(encoding="utf-8")
)
