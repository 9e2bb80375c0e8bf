"""Edits of a language model from steering vectors: the language pipeline's configuration of the algebra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from steerwright.arguments import finite_number, layer_list
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.language.load import LanguageModel
from steerwright.steering.algebra import Edit, read_bound
from steerwright.steering.operators import Add, ProjectOut
from steerwright.vectors.mixing import mix_name
from steerwright.vectors.steering_vectors import SteeringVectors, layer_number

Action = Literal["add", "erase"]
TextUnits = Literal["relative", "unit", "raw"]
ACTIONS: tuple[str, ...] = get_args(Action)
TEXT_UNITS: tuple[str, ...] = get_args(TextUnits)


def text_edits(
    vectors: SteeringVectors,
    layers: Sequence[int],
    strength: float | Tensor,
    *,
    action: Action = "add",
    units: TextUnits = "relative",
    tokens: str | Tensor = "last",
    bound: str = "none",
    model: LanguageModel | None = None,
) -> list[Edit]:
    """Add, or remove, the concept of `vectors` at `layers`, at each by that layer's own vector.

    `strength`: one number, or one per row [rows]. In units of each token's own norm (`relative`), of the activations
    (`unit`), or of the distance between texts with and without the concept (`raw`); a removal has none: 1 takes the
    concept away, measured from where texts without it lie where the vectors record that. `bound`: `none`, `keep_norm`
    (each token keeps its norm), `cap:SHARE` (of its norm, at most that much change). With `model`, vectors of another
    one are refused. To steer by several concepts at once, join the lists. Raises UserError for a layer that the vectors
    lack, vectors that are no single direction per layer, and a strength that is not finite.
    """
    if action not in ACTIONS:
        raise UserError(f"Action {action!r} does not exist; choose one of {', '.join(ACTIONS)}.")
    if units not in TEXT_UNITS:
        raise UserError(f"Units of strength {units!r} do not exist; choose one of {', '.join(TEXT_UNITS)}.")
    layers = layer_list(layers)
    found = strength if isinstance(strength, Tensor) else finite_number(strength)
    if found is None or not torch.isfinite(torch.as_tensor(found)).all():
        raise UserError(f"The strength of {vectors.concept!r} must be a finite number; found {strength}.")
    if model is not None:
        check_vectors(model, vectors)
    limit = read_bound(bound)
    edits = []
    for slot, direction in vectors.at_layers(list(layers)).directions.items():
        if slot.steps is not None or slot.branch is not None or direction.per_position:
            raise UserError(f"The {vectors.concept!r} vector at {slot.hookpoint} is not one for the tokens of a text.")
        operator = (
            Add(direction, units) if action == "add" else ProjectOut(direction, centred=direction.origin is not None)
        )
        edits.append(Edit(slot.hookpoint, operator, strength, tokens=tokens, bound=limit))
    order = {layer: place for place, layer in enumerate(layers)}
    return sorted(edits, key=lambda edit: order[layer_number(edit.hookpoint) or 0])


def check_vectors(model: LanguageModel, vectors: SteeringVectors) -> None:
    """Raise UserError unless `vectors` were fitted on `model` and lie on its residual stream; both models are named."""
    ours, theirs = model.fingerprint, vectors.model
    if not ours.same_model(theirs):
        raise UserError(
            f"The vectors for {vectors.concept!r} were fitted on {theirs.name} from {theirs.source} (fingerprint "
            f"{theirs.digest[:12]}), but the model to steer is {ours.name} from {ours.source} (fingerprint "
            f"{ours.digest[:12]}).{theirs.difference(ours)} Fit them on this model, or choose the other one."
        )
    theirs.note_beside(ours, f"The vectors for {vectors.concept!r}")


# Several concepts that take turns in steering one answer, each by its own direction.

# After so many sentences turns begin again.
ROUND = 10


@dataclass(frozen=True, slots=True, eq=False)
class Alternation:
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
