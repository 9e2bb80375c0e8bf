"""A concept of one's own: contrast pairs in, vectors at every layer out, with what can be said about each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steerkit.errors import UserError, UserErrors
from steerkit.lab.checks import MOST_PAIRS, checked_choice, checked_name, checked_text
from steerkit.lab.concepts import POLICY, ConceptEntry, Pair
from steerkit.lab.jobs import Job
from steerkit.lab.operations.separability import separability
from steerkit.lab.workbench import STRENGTH
from steerkit.vectors.residual_vectors import residual_vectors

if TYPE_CHECKING:
    from steerkit.lab.workbench import Workbench

POLICIES = ("content", "last")
LONGEST_SIDE = 1000
FEWEST_HELD_OUT = 3
"""From so many pairs on one can be held out, to see whether the others' vector holds for it too."""


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """What a concept's vector is like at one layer.

    `norm` is its length, `relative` that over the mean length of the residual stream. `mean`, `std`, `least`, `most`
    and `small` (the share of dimensions below 0.01) describe the raw vector's values; `largest` are the dimensions with
    the largest ones, largest first. `auroc` is the chance that a pair that was held out is ordered right (0.5 is
    guessing); not a number where there are fewer than three pairs.
    """

    layer: int
    norm: float
    relative: float
    mean: float
    std: float
    least: float
    most: float
    small: float
    largest: tuple[int, ...]
    auroc: float


@dataclass(frozen=True, slots=True)
class CreatedConcept:
    """A concept that was made and saved, with its statistics, first layer first."""

    entry: ConceptEntry
    statistics: tuple[LayerStatistics, ...]


def create_concept(
    workbench: Workbench, name: Any, pairs: Sequence[Any], policy: Any = POLICY, *, job: Job | None = None
) -> CreatedConcept:
    """Fit, save and list a concept from `pairs`: Pair, or (prompt, positive, negative).

    `policy`: which tokens of an answer count, `content` (the mean over its own) or `last`. Raises UserErrors for pairs
    that say nothing or do not differ, UserError for a name that is taken or cannot be one; then nothing is written.
    """
    from steerkit.activations.residuals import pooled_residuals

    job = job or Job()
    name = checked_name(name)
    if name in workbench.concepts():
        raise UserError(f"There is a concept {name!r} already; choose another name, or delete that one in the Library.")
    policy = checked_choice(policy, POLICIES, "token policy")
    checked = checked_pairs(pairs)
    model = workbench.language()
    job.step(0.1, f"Reading {2 * len(checked)} texts at {model.layers} layers")
    with workbench.turn("language", job.cancelled):
        prompts = [pair.prompt for pair in checked]
        texts = [pair.positive for pair in checked] + [pair.negative for pair in checked]
        pooled = pooled_residuals(model, texts, prompts + prompts, role="assistant", policy=policy).float().cpu()
    above, below = pooled[:, : len(checked)], pooled[:, len(checked) :]
    vectors = residual_vectors(above, below, model.hookpoints, concept=name, model=model.fingerprint, policy=policy)
    statistics = _statistics(above, below)
    job.step(0.9, "Saving")
    entry = ConceptEntry(
        name=name,
        factor=None,
        origin="yours",
        vectors=vectors,
        layer=_best_layer(statistics, workbench.middle_layer()),
        strength=STRENGTH,
        pairs=checked,
    )
    about = {"statistics": [_finite(asdict(one)) for one in statistics], "policy": policy}
    workbench.add_concept(entry, about)
    return CreatedConcept(entry, statistics)


def checked_pairs(pairs: Sequence[Any]) -> tuple[Pair, ...]:
    """The pairs, cleaned; UserErrors that name every pair that cannot be used."""
    if not isinstance(pairs, (list, tuple)) or not pairs:
        raise UserError("There are no contrast pairs; write at least one, better five or more.")
    if len(pairs) > MOST_PAIRS:
        raise UserError(f"{len(pairs)} pairs are too many; at most {MOST_PAIRS} are taken.")
    found, problems = [], []
    for number, pair in enumerate(pairs, 1):
        sides = (pair.prompt, pair.positive, pair.negative) if isinstance(pair, Pair) else pair
        if not isinstance(sides, (list, tuple)) or len(sides) != 3:
            problems.append(f"pair {number} must be a request, an answer with the concept, and one without")
            continue
        try:
            names = ("request", "answer with the concept", "answer without it")
            one = Pair(*(checked_text(side, what, LONGEST_SIDE) for side, what in zip(sides, names, strict=True)))
        except UserError as error:
            problems.append(f"pair {number}: {error}")
            continue
        if one.positive == one.negative:
            problems.append(f"pair {number}: both answers are the same, so there is no contrast")
            continue
        found.append(one)
    if problems:
        raise UserErrors("These pairs cannot be used:", problems)
    return tuple(found)


def _statistics(above: Tensor, below: Tensor) -> tuple[LayerStatistics, ...]:
    """From the pooled residual streams of both sides, each [layers, pairs, d]."""
    raw = above.double().mean(1) - below.double().mean(1)
    lengths = torch.cat([above, below], 1).double().norm(dim=-1).mean(1)
    held_out = above.shape[1] >= FEWEST_HELD_OUT
    auroc = separability(above, below)[0].tolist() if held_out else [math.nan] * len(raw)
    return tuple(
        LayerStatistics(
            layer=layer,
            norm=float(values.norm()),
            relative=float(values.norm() / lengths[layer]),
            mean=float(values.mean()),
            std=float(values.std(correction=0)),
            least=float(values.min()),
            most=float(values.max()),
            small=float((values.abs() < 0.01).double().mean()),
            largest=tuple(values.abs().topk(min(5, len(values))).indices.tolist()),
            auroc=auroc[layer],
        )
        for layer, values in enumerate(raw)
    )


def _best_layer(statistics: Sequence[LayerStatistics], middle: int) -> int:
    """The middle layer, unless held-out pairs are told apart better elsewhere in the middle half."""
    half = [one for one in statistics if len(statistics) // 4 <= one.layer < len(statistics) - len(statistics) // 4]
    best = max(half, key=lambda one: (one.auroc, -abs(one.layer - middle)), default=None)
    return middle if best is None or math.isnan(best.auroc) else best.layer


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no word for not-a-number."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}
