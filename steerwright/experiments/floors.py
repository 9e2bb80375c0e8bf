"""Floors: how much of everything but the concept an edit must leave, measured in up to three ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FLOORS = {"fidelity_floor": "fidelity", "prompt_floor": "prompt_share", "directional_floor": "directional"}
_WORDS = {"fidelity": "fidelity", "prompt_share": "similarity to the prompt", "directional": "directional similarity"}


@dataclass(frozen=True, slots=True)
class Kept:
    """What one picture, or the mean of several, kept; None for what no floor asks for.

    `fidelity`: share of the seasons world's other labels that are the unsteered picture's, in [0, 1]. `prompt_share`:
    share of the unsteered picture's CLIP similarity to its prompt, in [0, 1]. `directional`: cosine of the way that the
    picture moved and the way from the prompt to the prompt with the concept's words, in [-1, 1].
    """

    fidelity: float | None = None
    prompt_share: float | None = None
    directional: float | None = None

    def __str__(self) -> str:
        values = {words: getattr(self, name) for name, words in _WORDS.items()}
        return ", ".join(f"{words} {value:.3f}" for words, value in values.items() if value is not None)


@dataclass(frozen=True, slots=True)
class Floors:
    """The least of each that is enough; None: it does not count, and is not measured."""

    fidelity: float | None = None
    prompt_share: float | None = None
    directional: float | None = None

    def __post_init__(self) -> None:
        if not any(self.asked):
            raise ValueError(f"no floor is given; give at least one of {', '.join(FLOORS)}")

    @property
    def asked(self) -> tuple[str, ...]:
        """The measures that have a floor."""
        return tuple(name for name in FLOORS.values() if getattr(self, name) is not None)

    def missing(self, kept: Kept) -> float:
        """How far `kept` lies below the floors, all together; 0 where it reaches each. ValueError for a NaN or None."""
        total = 0.0
        for name in self.asked:
            value: Any = getattr(kept, name)
            if value is None or value != value:
                raise ValueError(f"a {_WORDS[name]} of {value} cannot be compared with a floor")
            total += max(0.0, getattr(self, name) - value)
        return total
