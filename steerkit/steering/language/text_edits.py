"""Edits of a language model from steering vectors: the language pipeline's configuration of the algebra."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from steerkit.arguments import finite_number, layer_list
from steerkit.errors import UserError
from steerkit.models.language.load import LanguageModel
from steerkit.steering.bounds import Bound, Cap, KeepNorm, Unbounded
from steerkit.steering.edit import Edit
from steerkit.steering.operators import Add, ProjectOut
from steerkit.vectors.steering_vectors import SteeringVectors, layer_number

Action = Literal["add", "remove"]
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
    concept away, measured from where texts without it lie where the vectors record that. `bound`: `none`, `keep` (each
    token keeps its norm), `cap:SHARE` (of its norm, at most that much change). With `model`, vectors of another one are
    refused. To steer by several concepts at once, join the lists. Raises UserError for a layer that the vectors lack,
    vectors that are no single direction per layer, and a strength that is not finite.
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
    limit = _bound(bound)
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


def _bound(text: str) -> Bound:
    kind, _, share = text.partition(":")
    if text == "none":
        return Unbounded()
    if text == "keep":
        return KeepNorm()
    try:
        value = float(share)
    except ValueError:
        value = math.nan
    if kind != "cap" or not (math.isfinite(value) and value > 0):
        raise UserError(f"Bound {text!r} does not exist; choose none, keep, or cap:SHARE with a share above 0.")
    return Cap(value)
