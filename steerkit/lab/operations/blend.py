"""The vectors that a request means: one concept's, or several mixed by weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steerkit.errors import UserError
from steerkit.lab.checks import MOST_CONCEPTS, checked_choice, checked_number, checked_text
from steerkit.lab.concepts import ConceptEntry
from steerkit.vectors.steering_vectors import SteeringVectors

if TYPE_CHECKING:
    from steerkit.lab.workbench import Workbench

HEAVIEST = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """What is steered by: `weights` by concept, their `entries`, and the `vectors` of the whole."""

    weights: Mapping[str, float]
    entries: Mapping[str, ConceptEntry]
    vectors: SteeringVectors

    @property
    def leading(self) -> ConceptEntry:
        """The concept with the largest weight, whose layer and strength are taken where none are given."""
        return self.entries[max(self.weights, key=lambda name: abs(self.weights[name]))]

    @property
    def name(self) -> str:
        """One name as it is; several as `happy:0.7,excited:0.3`."""
        if len(self.weights) == 1:
            return next(iter(self.weights))
        return ",".join(f"{name}:{weight:g}" for name, weight in self.weights.items())


def blend(workbench: Workbench, concepts: Any) -> Blend:
    """`concepts`: a name, `happy:0.7,excited:0.3`, several names (mixed in equal parts), or weights by name.

    Mixing adds the concepts' unit vectors layer by layer, each times its weight. Raises UserError for unknown names,
    weights that are not finite or all zero, and more than six concepts.
    """
    weights = _weights(concepts)
    if len(weights) > MOST_CONCEPTS:
        raise UserError(f"{len(weights)} concepts are too many to mix; take at most {MOST_CONCEPTS}.")
    known = workbench.concepts()
    entries = {name: known[checked_choice(name, known, "concept")] for name in weights}
    for name, weight in weights.items():
        checked_number(weight, f"weight of {name}", -HEAVIEST, HEAVIEST)
    if not any(weights.values()):
        raise UserError("Every weight is zero, so there is nothing to mix; give one concept a weight.")
    if len(weights) == 1:
        (name,) = weights
        if weights[name] == 1:
            return Blend(weights, entries, entries[name].vectors)
    from steerkit.vectors.mixing import mix

    return Blend(weights, entries, mix({name: entries[name].vectors for name in weights}, weights, of="unit"))


def _weights(concepts: Any) -> dict[str, float]:
    if isinstance(concepts, str):
        text = checked_text(concepts, "list of concepts", 400)
        if ":" not in text:
            return _equal([part.strip() for part in text.split(",")])
        from steerkit.vectors.mixing import parse_mix

        return parse_mix(text)
    if isinstance(concepts, Mapping):
        return {str(name): float(checked_number(weight, f"weight of {name}", -HEAVIEST, HEAVIEST))
                for name, weight in concepts.items()}  # fmt: skip
    if isinstance(concepts, Sequence) and concepts:
        return _equal([str(name) for name in concepts])
    raise UserError("No concept is chosen; choose at least one.")


def _equal(names: Sequence[str]) -> dict[str, float]:
    once = list(dict.fromkeys(names))
    return {name: 1.0 for name in once} if len(once) == 1 else {name: round(1 / len(once), 3) for name in once}
