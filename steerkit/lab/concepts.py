"""A concept as the lab lists it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from steerkit.vectors.steering_vectors import SteeringVectors

Origin = Literal["built-in", "yours"]
POLICY = "content"
"""Which tokens of an answer are looked at where nobody says: the mean over all of its own."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one request: with the concept, and the same without it."""

    prompt: str
    positive: str
    negative: str


@dataclass(frozen=True, slots=True)
class RequestPair:
    """Two requests that differ in whether they ask for the concept."""

    asking: str
    plain: str


@dataclass(frozen=True, slots=True, eq=False)
class ConceptEntry:
    """A concept that can be steered with: its vectors at every layer, and where and how far they work well.

    `factor` is what it is a value of (emotion, style, ...), None for a visitor's own. `layer` and `strength` (in shares
    of a token's norm) are what the page sets first; `safe` is the range of strengths in which texts stay coherent at
    that layer, None where nobody measured it. `pairs` are answers with and without the concept, from which it can be
    read in texts, whatever the vectors were fitted from. `instruction` is how a prompt would ask for it, and `removal`
    are the vectors along which what it asks for is taken out (`removal_vectors`); None: its own take their place.
    """

    name: str
    factor: str | None
    origin: Origin
    vectors: SteeringVectors
    layer: int
    strength: float
    safe: tuple[float, float] | None = None
    pairs: tuple[Pair, ...] = ()
    instruction: str | None = None
    removal: SteeringVectors | None = None

    def along(self, action: str) -> SteeringVectors:
        """The vectors by which it is added ("add"), or along which it is taken away ("remove")."""
        return self.vectors if action == "add" or self.removal is None else self.removal
