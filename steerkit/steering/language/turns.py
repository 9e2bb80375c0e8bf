"""Several concepts that take turns in steering one answer, each by its own direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor

from steerkit.errors import UserError
from steerkit.models.hookpoint import Hookpoint
from steerkit.steering.edit import Edit
from steerkit.steering.language.text_edits import TextUnits, text_edits
from steerkit.vectors.mixing import mix_name
from steerkit.vectors.steering_vectors import SteeringVectors

# About a short sentence for each of two concepts.
PERIOD = 20


@dataclass(frozen=True, slots=True, eq=False)
class Turns:
    """Vectors by concept, and the share of the answer's tokens, by weight, that each of them steers.

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
        self,
        layers: Sequence[int],
        strength: float | Tensor,
        *,
        units: TextUnits = "relative",
        bound: str = "none",
        period: int = PERIOD,
    ) -> list[Edit]:
        """Of every `period` tokens of the answer the first ones steered by the first concept, and so on.

        Each concept's turn is as long as its weight's share, at least a token; each is steered at full `strength`, at
        each of `layers` by that layer's own vector. Raises UserError as `text_edits`, and for a period with fewer
        tokens than concepts.
        """
        if period < len(self.weights):
            raise UserError(f"{len(self.weights)} concepts cannot take turns in {period} tokens; give more tokens.")
        bounds = turn_bounds([abs(weight) for weight in self.weights.values()], period)
        found: list[Edit] = []
        for (name, weight), start, stop in zip(self.weights.items(), [0, *bounds], bounds, strict=False):
            signed = strength if weight > 0 else -strength
            tokens = f"turn:{start}:{stop}:{period}"
            found += text_edits(self.parts[name], layers, signed, units=units, tokens=tokens, bound=bound)
        return found


def turn_bounds(weights: Sequence[float], period: int) -> list[int]:
    """Where each turn ends, of `period` tokens: as near to the weights' shares as whole turns of a token or more go."""
    total = sum(weights)
    ends = [round(period * sofar / total) for sofar in accumulate(weights)]
    for place in range(len(ends)):
        ends[place] = min(max(ends[place], (ends[place - 1] if place else 0) + 1), period - (len(ends) - 1 - place))
    return ends
