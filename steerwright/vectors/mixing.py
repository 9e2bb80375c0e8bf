"""Several concepts as one: a weighted sum of their vectors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, assert_never

from torch import Tensor

from steerwright.errors import UserError
from steerwright.vectors.direction import Direction, normalised
from steerwright.vectors.steering_vectors import SteeringVectors

MixOf = Literal["raw", "unit"]
_NAME = re.compile(r"[\w][\w .-]*")


def parse_mix(text: str) -> dict[str, float]:
    """Read `happy:0.7,excited:0.3` as weights by concept, in its order; a weight may be negative.

    With bars instead of commas, `happy:0.7|excited:0.3`, concepts take turns (`takes_turns`). UserError, which shows
    the form, for anything else: no name, a name twice, no weight, one of 0 or not finite, or bars and commas together.
    """
    if takes_turns(text) and "," in text:
        raise UserError(
            f"The mix {text!r} has commas and bars; write happy:0.7,excited:0.3 to add the directions, or "
            "happy:0.7|excited:0.3 for concepts that take turns."
        )
    weights: dict[str, float] = {}
    for part in text.split("|" if takes_turns(text) else ","):
        name, colon, number = part.rpartition(":")
        name = name.strip()
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not colon or not _NAME.fullmatch(name) or not math.isfinite(weight) or weight == 0:
            raise UserError(
                f"The mix {text!r} cannot be read at {part.strip()!r}; write concepts with weights, as "
                "happy:0.7,excited:0.3."
            )
        if name in weights:
            raise UserError(f"The mix {text!r} names {name!r} twice; name it once, with the sum of its weights.")
        weights[name] = weight
    return weights


def takes_turns(text: str) -> bool:
    """Whether the concepts of a mix take turns, `happy:0.7|excited:0.3`, rather than being added."""
    return "|" in text


def mix_name(weights: Mapping[str, float], *, turns: bool = False) -> str:
    """The mix as `parse_mix` reads it: happy:0.7,excited:0.3, or happy:0.7|excited:0.3 with `turns`."""
    return ("|" if turns else ",").join(f"{name}:{weight:g}" for name, weight in weights.items())


def mix(parts: Mapping[str, SteeringVectors], weights: Mapping[str, float], *, of: MixOf = "raw") -> SteeringVectors:
    """The sum of `parts` by concept, each times its weight, slot by slot; as usable and savable as any vectors.

    `raw` adds the vectors as long as they are, so that a concept that moves activations far counts for more; `unit`
    makes each of length 1 before. The sum is not scaled: its `norm` is its length. Where texts without the concepts lie
    along it is not known, so there is no origin. Raises UserError where a concept has no vectors, models or slots
    differ, or the vectors cancel each other out.
    """
    missing = [name for name in weights if name not in parts]
    if missing or not weights:
        known = ", ".join(parts) or "none"
        raise UserError(f"A mix needs the vectors of {', '.join(missing) or 'its concepts'}; there are {known}.")
    first, *others = (parts[name] for name in weights)
    for other in others:
        _check_alike(first, other)
    directions = {}
    for slot in first.directions:
        terms = [weight * _vector(parts[name].directions[slot], of) for name, weight in weights.items()]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        try:
            directions[slot] = normalised(total)
        except ValueError as error:
            raise UserError(
                f"The concepts of {mix_name(weights)} cancel each other out at {slot.hookpoint}."
            ) from error
    policies = dict.fromkeys(parts[name].token_policy for name in weights)
    return replace(
        first,
        concept=mix_name(weights),
        estimator=f"mix of {of}",
        token_policy=" and ".join(policies),
        directions=directions,
        controls={},
    )


def _vector(direction: Direction, of: MixOf) -> Tensor:
    unit = direction.unit.double()
    match of:
        case "raw":
            return direction.norm.double()[..., None] * unit
        case "unit":
            return unit
        case _:
            assert_never(of)


def _check_alike(first: SteeringVectors, other: SteeringVectors) -> None:
    if not first.model.same_model(other.model):
        raise UserError(
            f"{first.concept!r} was fitted on {first.model.name} (fingerprint {first.model.digest[:12]}), "
            f"{other.concept!r} on {other.model.name} (fingerprint {other.model.digest[:12]}); only vectors of one "
            f"model can be mixed.{first.model.difference(other.model)}"
        )
    first.model.note_beside(other.model, f"The vectors for {first.concept!r}, mixed with those for {other.concept!r}")
    differing = set(first.directions) ^ set(other.directions)
    if differing:
        slot = min(differing, key=lambda slot: (slot.hookpoint, slot.tokens))
        has, lacks = (first, other) if slot in first.directions else (other, first)
        raise UserError(
            f"{has.concept!r} has a vector at {slot.hookpoint} and {lacks.concept!r} has none; mix vectors of the same "
            "layers."
        )
    shapes = {tuple(d.unit.shape) for v in (first, other) for d in v.directions.values()}
    if len(shapes) > 1:
        raise UserError(
            f"{first.concept!r} and {other.concept!r} have vectors of different shapes and cannot be mixed."
        )
