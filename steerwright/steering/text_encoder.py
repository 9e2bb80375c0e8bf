"""Edits of the text encoder from steering vectors: the winter pipeline's configuration of the algebra."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from steerwright.activations.token_policy import TYPES
from steerwright.arguments import is_list, strength_number
from steerwright.errors import UserError
from steerwright.steering.algebra import Bound, Edit, EditBranch, Unbounded
from steerwright.steering.operators import UNITS, Add, Units
from steerwright.vectors.steering_vectors import SteeringVectors, layer_number


def text_edit(
    vectors: SteeringVectors,
    layers: Sequence[int],
    strengths: float | Sequence[float],
    *,
    branch: EditBranch,
    units: Units,
    multiplier: float | Tensor = 1.0,
    bound: Bound | None = None,
) -> list[Edit]:
    """Add the vectors of `layers`, each `strengths` (one for all, or one per layer, in their order) far, in `units`.

    `multiplier` scales all of them, one number or one per image [images]: the dose of an adaptive strategy. Vectors
    for all tokens edit all positions, typed ones the tokens of their type. To steer towards several concepts at once,
    join their lists: the edits of the first are made first. Raises UserError for an unknown layer or unit, a number
    of strengths that is not that of the layers, or vectors that depend on the denoising step.
    """
    if units not in UNITS:
        raise UserError(f"Units of strength {units!r} do not exist; choose one of {', '.join(UNITS)}.")
    if len(set(layers)) != len(layers):
        raise UserError(f"Layers {list(layers)} name one twice; name each once, with the sum of its strengths.")
    several = strengths if isinstance(strengths, Iterable) and is_list(strengths) else [strengths] * len(layers)
    each = [strength_number(strength, repr(vectors.concept)) for strength in several]
    if len(each) != len(layers):
        raise UserError(f"{len(each)} strengths for {len(layers)} layers; give one for all, or one for each.")
    by_layer = dict(zip(layers, each, strict=True))
    edits = []
    for slot, direction in vectors.at_layers(list(layers)).directions.items():
        if slot.steps is not None:
            raise UserError(f"The {vectors.concept!r} vector at {slot.hookpoint} is for some denoising steps only.")
        layer = layer_number(slot.hookpoint)
        assert layer is not None, "at_layers keeps numbered layers only"
        strength = by_layer[layer] * multiplier
        operator = Add(direction, units)
        edits.append(
            Edit(slot.hookpoint, operator, strength, branch=branch, tokens=slot.tokens, bound=bound or Unbounded())
        )
    return edits


def edit_norm(edits: Sequence[Edit]) -> float:
    """How far these edits move a token in all: the root of the sum of their squared lengths.

    In the activations' own units; for `relative` edits in multiples of the token's norm. Typed edits share the tokens
    out among them, so each counts by a third; per-position vectors and strengths per image count by their mean square.
    Raises ValueError for operators whose length depends on the token.
    """
    return math.sqrt(sum(_square(edit) * (1 if edit.tokens == "all" else 1 / len(TYPES)) for edit in edits))


def _square(edit: Edit) -> float:
    if not isinstance(edit.operator, Add):
        raise ValueError(f"the length of {type(edit.operator).__name__} depends on the token it edits")
    norm = edit.operator.direction.norm.double()
    reach = {"raw": norm, "half_raw": norm / 2}.get(edit.operator.units, (norm > 0).double())
    strength = torch.as_tensor(edit.strength, dtype=torch.float64)
    return float(reach.square().mean() * strength.square().mean())
