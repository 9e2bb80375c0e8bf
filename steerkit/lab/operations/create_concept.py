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
from steerkit.lab.fitting import pooled
from steerkit.lab.jobs import Job
from steerkit.lab.operations.answers import answered
from steerkit.lab.operations.separability import separability
from steerkit.lab.operations.steer_text import TOKENS
from steerkit.lab.workbench import STRENGTH
from steerkit.vectors.residual_vectors import residual_vectors

if TYPE_CHECKING:
    from steerkit.lab.workbench import Workbench

WORDS = "request last"
"""The policy of pairs that hold words which are added to the request, read where the answer begins."""
POLICIES = (POLICY, "last", WORDS)
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
    """Fit, save and list a concept from `pairs`: Pair, or (request, with the concept, without it).

    `policy`: what the two sides are, and which tokens count. Answers: `content` (the mean over an answer's own tokens)
    or `last`. Words that are added to the request, such as "Answer in a happy tone." and nothing: `request last`, the
    last token before the answer; the concept is then read in texts by what the model answers to both. Raises UserErrors
    for pairs that say nothing or do not differ, UserError for a name that is taken or is none; then nothing is written.
    """
    from steerkit.activations.collect_residuals import AnsweredText

    job = job or Job()
    name = checked_name(name)
    if name in workbench.concepts():
        raise UserError(f"There is a concept {name!r} already; choose another name, or delete that one in the Library.")
    policy = checked_choice(policy, POLICIES, "token policy")
    words = policy == WORDS
    given = checked_pairs(pairs, words)
    model = workbench.language()
    job.step(0.1, f"Reading {2 * len(given)} texts at {model.layers} layers")
    sides = [(pair.prompt, pair.positive) for pair in given] + [(pair.prompt, pair.negative) for pair in given]
    texts = [
        AnsweredText(f"{prompt} {side}".strip()) if words else AnsweredText(side, prompt) for prompt, side in sides
    ]
    with workbench.turn("language", job.cancelled):
        rows = pooled(model, texts, "requests" if words else "answers", "last" if words else policy)
    above, below = rows[:, : len(given)], rows[:, len(given) :]
    vectors = residual_vectors(above, below, model.hookpoints, concept=name, model=model.fingerprint, policy=policy)
    statistics = _statistics(above, below)
    answers = _answers(workbench, given, job) if words else given
    job.step(0.9, "Saving")
    entry = ConceptEntry(
        name=name,
        factor=None,
        origin="yours",
        vectors=vectors,
        layer=_best_layer(statistics, workbench.middle_layer()),
        strength=STRENGTH,
        pairs=answers,
    )
    about: dict[str, Any] = {"statistics": [_finite(asdict(one)) for one in statistics], "policy": policy}
    if words:
        about["words"] = [asdict(pair) for pair in given]
    workbench.add_concept(entry, about)
    return CreatedConcept(entry, statistics)


def _answers(workbench: Workbench, given: Sequence[Pair], job: Job) -> tuple[Pair, ...]:
    """What the model answers to each request with the words on either side; pairs of which one says nothing are out."""
    from steerkit.models.language.generate import Sampling

    job.step(0.5, "Asking the model both ways")
    asked = [f"{pair.prompt} {pair.positive}" for pair in given]
    asked += [f"{pair.prompt} {pair.negative}".strip() for pair in given]
    seeds = [*range(len(given)), *range(len(given))]
    with workbench.turn("language", job.cancelled):
        found = answered(workbench.language(), asked, seeds, Sampling(max_new_tokens=TOKENS), [], job)
    texts = [one.text.strip() for one in found]
    return tuple(
        Pair(pair.prompt, positive, negative)
        for pair, positive, negative in zip(given, texts[: len(given)], texts[len(given) :], strict=True)
        if positive and negative
    )


def checked_pairs(pairs: Sequence[Any], words: bool = False) -> tuple[Pair, ...]:
    """The pairs, cleaned; UserErrors that name every pair that cannot be used.

    `words`: the sides are words that are added to the request, of which those without the concept may be none.
    """
    if not isinstance(pairs, (list, tuple)) or not pairs:
        raise UserError("There are no contrast pairs; write at least one, better five or more.")
    if len(pairs) > MOST_PAIRS:
        raise UserError(f"{len(pairs)} pairs are too many; at most {MOST_PAIRS} are taken.")
    found, problems = [], []
    for number, pair in enumerate(pairs, 1):
        sides = (pair.prompt, pair.positive, pair.negative) if isinstance(pair, Pair) else pair
        if not isinstance(sides, (list, tuple)) or len(sides) != 3:
            problems.append(f"pair {number} must be a request, a text with the concept, and one without")
            continue
        try:
            prompt, positive = (
                checked_text(side, what, LONGEST_SIDE)
                for side, what in zip(sides[:2], ("request", "side with the concept"), strict=True)
            )
            empty = words and not str(sides[2] or "").strip()
            negative = "" if empty else checked_text(sides[2], "side without it", LONGEST_SIDE)
        except UserError as error:
            problems.append(f"pair {number}: {error}")
            continue
        if positive == negative:
            problems.append(f"pair {number}: both sides are the same, so there is no contrast")
            continue
        found.append(Pair(prompt, positive, negative))
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
