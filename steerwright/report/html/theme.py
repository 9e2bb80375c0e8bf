"""Colours, names and number formats that the figures, the contact sheet and the page share."""

import math

# Drawn in the light colours; the page swaps each for the CSS variable of its name, so a figure follows the theme.
# Every value is used once, so that the swap is unambiguous.
LIGHT = {
    "paper": "#fcfbf8", "ink": "#1c1f23", "muted": "#61666c", "rule": "#dcd9d1", "panel": "#f4f2ec",
    "unsteered": "#767b81", "fixed": "#b0701c", "adaptive": "#1c68a6", "prompt": "#77579f", "random": "#9c9184",
}  # fmt: skip
DARK = {
    "paper": "#16181b", "ink": "#e8e6e1", "muted": "#a2a7ad", "rule": "#383c41", "panel": "#1e2125",
    "unsteered": "#a9aeb4", "fixed": "#dfa457", "adaptive": "#74b8ee", "prompt": "#bda2e2", "random": "#8f8578",
}  # fmt: skip
# Frost: from almost paper to deep blue, readable on both themes.
FROST = ("#eef3f6", "#c4d9e6", "#88b3cf", "#4585b1", "#1d5786", "#0c3154")

CONDITION_NAMES = {
    "unsteered": "Unsteered", "fixed": "Fixed", "adaptive": "Adaptive", "prompt": "“in winter”", "random": "Random",
}  # fmt: skip
MARKERS = {"unsteered": "o", "fixed": "s", "adaptive": "D", "prompt": "^", "random": "X"}
GROUP_NAMES = {
    "all": "All", "outdoor": "Outdoors", "indoor": "Indoors", "high": "High resistance", "medium": "Medium resistance",
    "low": "Low resistance",
}  # fmt: skip

THIN, MINUS, DASH = "\u202f", "\u2212", "\u2013"


def percent(value: float | None, signed: bool = False) -> str:
    """0.943 as `94 %`; a dash for what is undefined."""
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    rounded = round(100 * value)
    sign = MINUS if rounded < 0 else "+" if signed and rounded > 0 else ""
    return f"{sign}{abs(rounded)}{THIN}%"


def decimal(value: float | None, places: int = 3) -> str:
    """A number with a true minus; a dash for what is undefined."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.{places}f}".replace("-", MINUS)


def span(low: float | None, high: float | None, signed: bool = False) -> str:
    """`89 to 98 %`; one number where both round to the same."""
    first, last = percent(low, signed), percent(high, signed)
    return last if first == last else f"{first.removesuffix(f'{THIN}%')} to {last}"
