"""What a strategy decides for one prompt."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dose:
    """How many times the fixed strength a prompt gets, and why, in words for the report."""

    multiplier: float
    reason: str
