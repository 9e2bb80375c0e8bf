"""Several concepts that take turns in steering one answer, each by its own direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from steerkit.errors import UserError
from steerkit.models.hookpoint import Hookpoint
from steerkit.steering.edit import Edit
from steerkit.steering.language.text_edits import TextUnits, text_edits
from steerkit.vectors.mixing import mix_name
from steerkit.vectors.steering_vectors import SteeringVectors

# After so many sentences turns begin anew.
ROUND = 10


@dataclass(frozen=True, slots=True, eq=False)
class Turns:
    """Vectors by concept, and the share of the answer's sentences, by weight, that each of them steers.

    A sum of directions mostly shows the concept whose words come first, because a model goes on as its text began; in
    turns each concept is pushed alone. A negative weight steers away from its concept in its turn.
    """

    parts: Mapping[str, SteeringVectors]
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        missing = [name for name in self.weights if name not in self.parts]
        if missing or not self.weights:
            known = ", ".join(self.parts) or "none"
            raise UserError(f"A mix needs the vectors of {', '.join(missing) or 'its concepts'}; there are {known}.")

    @property
    def concept(self) -> str:
        """The mix as `parse_mix` reads it: happy:0.5|formal:0.5."""
        return mix_name(self.weights, turns=True)

    @property
    def hookpoints(self) -> tuple[Hookpoint, ...]:
        """The places that all concepts have a direction at, in order."""
        each = [self.parts[name].hookpoints for name in self.weights]
        return tuple(place for place in each[0] if all(place in other for other in each))

    def edits(
        self, layers: Sequence[int], strength: float | Tensor, *, units: TextUnits = "relative", bound: str = "none"
    ) -> list[Edit]:
        """The answer's sentences steered by one concept each (`whose_turn`), at full `strength`.

        At each of `layers` by that layer's own vector. Raises UserError as `text_edits`.
        """
        turns = whose_turn([abs(weight) for weight in self.weights.values()], max(ROUND, len(self.weights)))
        found: list[Edit] = []
        for place, (name, weight) in enumerate(self.weights.items()):
            if place not in turns:
                continue
            tokens = f"sentences:{''.join('1' if turn == place else '0' for turn in turns)}"
            signed = strength if weight > 0 else -strength
            found += text_edits(self.parts[name], layers, signed, units=units, tokens=tokens, bound=bound)
        return found


def whose_turn(weights: Sequence[float], sentences: int) -> list[int]:
    """Which concept steers each sentence: every time the one that is furthest behind its share, the first of equals."""
    total = sum(weights)
    had = [0] * len(weights)
    turns: list[int] = []
    for number in range(1, sentences + 1):
        behind = [weight / total * number - count for weight, count in zip(weights, had, strict=True)]
        # A share of a thousandth more is rounding.
        place = max(range(len(weights)), key=lambda at: (round(behind[at], 9), -at))
        had[place] += 1
        turns.append(place)
    return turns
