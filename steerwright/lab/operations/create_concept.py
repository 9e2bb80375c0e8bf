"""A concept of one's own: contrast pairs in, vectors at every layer out, with what can be said about each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steerwright.activations.residuals import AnsweredText, pooled_once
from steerwright.errors import UserError, UserErrors
from steerwright.lab.checks import MOST_PAIRS, checked_choice, checked_name, checked_text
from steerwright.lab.concepts import POLICY, ConceptEntry, Pair, RequestPair
from steerwright.lab.jobs import Job
from steerwright.lab.operations.blend import answered
from steerwright.lab.operations.separability import separability
from steerwright.lab.operations.steer_text import TOKENS
from steerwright.vectors.language import described_policy, residual_vectors, role_of

if TYPE_CHECKING:
    from steerwright.lab.workbench import Workbench

TOKENS_OF: Mapping[str, tuple[str, ...]] = {
    "requests": ("last",), "answers": (POLICY, "last"), "texts": ("last", POLICY),
}  # fmt: skip
"""Which tokens can be looked at, the usual first: where an answer begins a request has been read whole."""
LONGEST_SIDE = 1000
FEWEST_HELD_OUT = 3
"""From so many pairs on one can be held out, to see whether the others' vector holds for it too."""

ABOUT = 0.05
"""So much less of the AUROC is no reason to leave the usual layer."""


@dataclass(frozen=True, slots=True)
class LayerFit:
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
    statistics: tuple[LayerFit, ...]


def create_concept(
    workbench: Workbench,
    name: Any,
    pairs: Sequence[Any],
    contrast: Any = "requests",
    tokens: Any = None,
    *,
    job: Job | None = None,
) -> CreatedConcept:
    """Fit, save and list a concept from `pairs`, which differ in the concept and in little else.

    `contrast`: what the pairs hold. `requests`: (request that asks for the concept, the same without asking), read
    where the answer begins; the concept is then read in texts by what the model answers to both. `answers`: Pair, or
    (request, answer with the concept, the same without it). `tokens` of answers: `content` (the mean over an answer's
    own tokens, the usual one) or `last`. `texts`: (text with the concept, text without it), read by themselves without
    a template; `tokens` `last` (the usual one) or `content`. Raises UserErrors for pairs that say nothing or do not
    differ, UserError for a name that is taken or is none; then nothing is written.
    """
    job = job or Job()
    name = checked_name(name)
    if name in workbench.concepts():
        raise UserError(f"There is a concept {name!r} already; choose another name, or delete that one in the Library.")
    workbench.check_room()  # before the work, not after it
    contrast = checked_choice(contrast, TOKENS_OF, "kind of pairs")
    known = TOKENS_OF[contrast]
    tokens = checked_choice(tokens or known[0], known, f"token policy for {contrast}")
    given = checked_pairs(pairs) if contrast == "answers" else checked_texts(pairs) if contrast == "texts" else ()
    asked = checked_requests(pairs) if contrast == "requests" else ()
    model = workbench.language()
    above, below = (
        ([AnsweredText(one.asking) for one in asked], [AnsweredText(one.plain) for one in asked])
        if asked
        else (
            [AnsweredText(one.positive, one.prompt or None) for one in given],
            [AnsweredText(one.negative, one.prompt or None) for one in given],
        )
    )
    job.step(0.1, f"Reading {len(above) + len(below)} texts at {model.layers} layers")
    with workbench.turn("language", job.cancelled):
        rows = pooled_once(model, above + below, role_of(contrast), tokens)
    sides = rows[:, : len(above)], rows[:, len(above) :]
    vectors = residual_vectors(
        *sides, model.hookpoints, concept=name, model=model.fingerprint, policy=described_policy(contrast, tokens)
    )
    statistics = _statistics(*sides)
    answers = _answers(workbench, asked, job) if asked else given
    job.step(0.9, "Saving")
    usual = workbench.usual()
    entry = ConceptEntry(
        name=name,
        factor=None,
        origin="yours",
        vectors=vectors,
        layer=best_layer(statistics, usual.layer),
        strength=usual.strength,
        pairs=answers,
    )
    about: dict[str, Any] = {
        "statistics": [_finite(asdict(one)) for one in statistics], "contrast": contrast, "tokens": tokens,
    }  # fmt: skip
    if asked:
        about["requests"] = [asdict(one) for one in asked]
    workbench.add_concept(entry, about)
    return CreatedConcept(entry, statistics)


def checked_requests(pairs: Sequence[Any]) -> tuple[RequestPair, ...]:
    """The pairs of requests, cleaned; UserErrors that name every pair that cannot be used."""
    names = ("request that asks for the concept", "request without it")
    return tuple(RequestPair(*sides) for sides in _checked(pairs, names, "requests"))


def checked_texts(pairs: Sequence[Any]) -> tuple[Pair, ...]:
    """The pairs of texts that answer nothing, cleaned; UserErrors that name every pair that cannot be used."""
    return tuple(Pair("", *sides) for sides in _checked(pairs, ("text with the concept", "text without it"), "texts"))


def checked_pairs(pairs: Sequence[Any]) -> tuple[Pair, ...]:
    """The pairs of answers, cleaned; UserErrors that name every pair that cannot be used."""
    names = ("request", "answer with the concept", "answer without it")
    return tuple(Pair(*sides) for sides in _checked(pairs, names, "answers"))


def _checked(pairs: Sequence[Any], names: tuple[str, ...], what: str) -> list[list[str]]:
    """The texts of every pair, called by `names`; the last two are the sides, which must differ."""
    if not isinstance(pairs, (list, tuple)) or not pairs:
        raise UserError("There are no contrast pairs; write at least one, better five or more.")
    if len(pairs) > MOST_PAIRS:
        raise UserError(f"{len(pairs)} pairs are too many; at most {MOST_PAIRS} are taken.")
    problems, found = [], []
    for number, pair in enumerate(pairs, 1):
        sides = (pair.prompt, pair.positive, pair.negative) if isinstance(pair, Pair) else pair
        if not isinstance(sides, (list, tuple)) or len(sides) != len(names):
            problems.append(f"pair {number} must be {', '.join(names[:-1])} and {names[-1]}")
            continue
        try:
            texts = [checked_text(side, name, LONGEST_SIDE) for side, name in zip(sides, names, strict=True)]
        except UserError as error:
            problems.append(f"pair {number}: {error}")
            continue
        if texts[-1] == texts[-2]:
            problems.append(f"pair {number}: both {what} are the same, so there is no contrast")
            continue
        found.append(texts)
    if problems:
        raise UserErrors("These pairs cannot be used:", problems)
    return found


def _answers(workbench: Workbench, asked: Sequence[RequestPair], job: Job) -> tuple[Pair, ...]:
    """What the model answers to either request of each pair; pairs of which one answer says nothing are left out."""
    from steerwright.steering.language.generate import Sampling

    job.step(0.5, "Asking the model both ways")
    requests = [one.asking for one in asked] + [one.plain for one in asked]
    seeds = [*range(len(asked)), *range(len(asked))]
    with workbench.turn("language", job.cancelled):
        found = answered(workbench.language(), requests, seeds, Sampling(max_new_tokens=TOKENS), [], job)
    texts = [one.text.strip() for one in found]
    return tuple(
        Pair(one.plain, positive, negative)
        for one, positive, negative in zip(asked, texts[: len(asked)], texts[len(asked) :], strict=True)
        if positive and negative
    )


def _statistics(above: Tensor, below: Tensor) -> tuple[LayerFit, ...]:
    """From the pooled residual streams of both sides, each [layers, pairs, d]."""
    raw = above.double().mean(1) - below.double().mean(1)
    lengths = torch.cat([above, below], 1).double().norm(dim=-1).mean(1)
    held_out = above.shape[1] >= FEWEST_HELD_OUT
    auroc = separability(above, below)[0].tolist() if held_out else [math.nan] * len(raw)
    return tuple(
        LayerFit(
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


def best_layer(statistics: Sequence[LayerFit], usual: int) -> int:
    """The usual layer, or the nearest to it that tells held-out pairs apart about as well as the best does."""
    best = max(one.auroc for one in statistics)
    if math.isnan(best):
        return usual
    good = [one.layer for one in statistics if one.auroc >= best - ABOUT]
    return min(good, key=lambda layer: (abs(layer - usual), -layer))


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no word for not-a-number."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}
