"""Steering vectors of one concept at every layer of a language model, from the residual stream of contrast pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from steerwright.activations.paired_moments import shuffle_signs
from steerwright.activations.residuals import AnsweredText, pooled_once
from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.language.encode import Role
from steerwright.models.language.load import LanguageModel
from steerwright.vectors.direction import Direction, normalised
from steerwright.vectors.estimators.registry import EstimatorName, estimate
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey


def residual_vectors(
    positive: Tensor,
    negative: Tensor,
    hookpoints: Sequence[Hookpoint],
    *,
    concept: str,
    model: Fingerprint,
    policy: str,
    estimator: EstimatorName = "mean_difference",
    others: Tensor | None = None,
    shuffles: int = 0,
    seed: int = 0,
) -> SteeringVectors:
    """One direction per layer from `positive` and `negative`, both [layers, pairs, d], row i of each of the same pair.

    `policy` (last, content, span:a:b) says which tokens of a text the rows were pooled over, for the file's header.
    `others`, [layers, d], is the mean of other concepts' differences (`mean_of_others`), which is taken off: what is
    common to all concepts, as being none of them, is no mark of this one. Each direction records where the negative
    texts' mean lies along it. With `shuffles`, its control is the longest mean difference that so many random swaps of
    the pairs' sides give (`shuffle_signs`), in the units of its norm: as many times the norm as that is longer than the
    mean difference itself, less `others`. There is none with too few pairs (`fewest_pairs`). Raises UserError where
    sides have not equally many texts, values are not finite, the sides coincide, or differ in nothing but what other
    concepts do too.

    Source: contrastive activation addition, arXiv:2312.06681; taking off a mean of others, arXiv:2312.03813.
    """
    if positive.shape != negative.shape or positive.ndim != 3 or len(positive) != len(hookpoints):
        raise UserError(
            f"{concept!r} vectors need as many positive as negative texts at {len(hookpoints)} layers; found "
            f"{list(positive.shape)} and {list(negative.shape)}."
        )
    if positive.shape[1] == 0:
        raise UserError(f"There are no texts to fit {concept!r} vectors from; give pairs.")
    if not (torch.isfinite(positive).all() and torch.isfinite(negative).all()):
        raise UserError(
            f"Activations of the {concept!r} pairs are not finite: half precision overflowed. Set the model's dtype to "
            "float32 or bfloat16."
        )
    signs = shuffle_signs([str(pair) for pair in range(positive.shape[1])], shuffles, seed)
    directions, controls = {}, {}
    for layer, (hookpoint, above, below) in enumerate(
        zip(hookpoints, positive.double(), negative.double(), strict=True)
    ):
        try:
            found = _direction(estimator, above, below, None if others is None else others[layer])
        except ValueError as error:
            raise UserError(
                f"No {concept!r} vector can be fitted at {hookpoint}: {error}. Check the contrast pairs: each needs a "
                "positive and a negative text that differ."
            ) from error
        slot = VectorKey(hookpoint)
        directions[slot] = replace(found, origin=(below.mean(0) @ found.unit.double()).float())
        if len(signs):
            apart = above - below if others is None else above - below - others[layer].double()
            longest = float((signs @ apart / len(above)).norm(dim=-1).max())
            # The norm of other estimators is shorter than what it is held against here: compare like with like.
            plain = estimator == "mean_difference" and others is None
            controls[slot] = longest if plain else longest * float(found.norm) / float(apart.mean(0).norm())
    name = estimator if others is None else f"centred-{estimator}"
    return SteeringVectors(concept, model, name, policy, directions, controls=controls)


def mean_of_others(differences: Mapping[str, Tensor], concept: str) -> Tensor | None:
    """The mean of all `differences` (by concept, each alike in shape) but that of `concept`; None where there is none.

    `differences`: positive less negative mean, [layers, d].
    """
    rest = [difference for name, difference in differences.items() if name != concept]
    return torch.stack(rest).mean(0) if rest else None


def held_out_scores(
    positive: Tensor,
    negative: Tensor,
    estimator: EstimatorName = "mean_difference",
    others: Tensor | None = None,
    folds: int = 6,
) -> tuple[Tensor, Tensor]:
    """How far each text lies along a direction that was fitted without its pair: float64 [pairs] for either side.

    `positive`, `negative`: [pairs, d] at one layer, `others` [d]. Pair i is held out in fold i mod `folds`. A score
    counts from the midpoint of the fitting pairs' means in units of half their distance: +1 where the positive mean
    lies, -1 where the negative one does, so that scores of different folds compare. NaN where the fitting pairs
    coincide, or are none.
    """
    above, below = positive.double(), negative.double()
    scores = torch.full((2, len(above)), torch.nan, dtype=torch.float64)
    fold = torch.arange(len(above)) % folds
    for number in range(min(folds, len(above))):
        test, fit = fold == number, fold != number
        if not fit.any():
            continue
        try:
            unit = _direction(estimator, above[fit], below[fit], others).unit.double()
        except ValueError:
            continue
        ends = above[fit].mean(0) @ unit, below[fit].mean(0) @ unit
        middle, half = (ends[0] + ends[1]) / 2, (ends[0] - ends[1]) / 2
        scores[0, test], scores[1, test] = (above[test] @ unit - middle) / half, (below[test] @ unit - middle) / half
    return scores[0], scores[1]


def _direction(estimator: EstimatorName, above: Tensor, below: Tensor, others: Tensor | None) -> Direction:
    """The estimator's direction, less `others`; its norm is the distance of the sides' means along it."""
    found = estimate(estimator, above, below)
    if others is None:
        return found
    own = found.norm.double() * found.unit.double() - others.double()
    unit = normalised(own).unit
    apart = (above.mean(0) - below.mean(0)) @ unit.double()
    if apart <= 0:
        raise ValueError("its pairs differ in nothing but what those of the other concepts do, too")
    return Direction(unit, apart.float())


# The two sides of a concept's contrast pairs, as a language model reads them.

Contrast = Literal["requests", "answers", "instructed", "texts"]
CONTRASTS: tuple[str, ...] = get_args(Contrast)
SIDES = ("positive", "negative")
Sides = tuple[Tensor, Tensor]
"""Positive and negative rows, each float32 [layers, pairs, d]."""


def contrast_texts(concepts: Mapping[str, Mapping[str, Any]], contrast: Contrast) -> dict[str, AnsweredText]:
    """Both sides of every pair of `concepts` (as in pairs.json), by `ID:positive` and `ID:negative`.

    - `requests`: the pair's request with the words that ask for the concept, against the request alone; where the
      answer begins the model has read all of it, so its last token is what to take (arXiv:2308.10248).
    - `answers`: the answer that shows the concept against its plain counterpart (arXiv:2312.06681).
    - `instructed`: the plain answer after the request with those words, against the same answer after the request
      alone. Its tokens are the same on both sides, so what differs is what the words do to them (arXiv:2410.12877
      compares where the answer begins).
    - `texts`: the positive text against the negative one, each by itself, without a template or a request.

    UserError for a pair without a request where the contrast reads one.
    """
    found: dict[str, AnsweredText] = {}
    for name, concept in concepts.items():
        for pair in concept["pairs"]:
            request = pair["prompt"]
            if contrast == "texts":
                found |= {f"{pair['id']}:{side}": AnsweredText(pair[side]) for side in SIDES}
                continue
            if request is None and contrast != "instructed":
                raise UserError(
                    f"The pair {pair['id']} of {name} has no prompt, which language.activations.contrast: {contrast} "
                    "reads. Write the request that it answers as its prompt, or write contrast: texts."
                )
            request = request or ""
            asking = f"{request} {concept['instruction']}".strip()
            if contrast == "requests":
                sides = (AnsweredText(asking), AnsweredText(request))
            elif contrast == "instructed":
                sides = (AnsweredText(pair["negative"], asking), AnsweredText(pair["negative"], request))
            else:
                sides = (AnsweredText(pair["positive"], request), AnsweredText(pair["negative"], request))
            found |= {f"{pair['id']}:{side}": text for side, text in zip(SIDES, sides, strict=True)}
    return found


def role_of(contrast: Contrast) -> Role:
    """Whose words the texts of a contrast are."""
    roles: dict[Contrast, Role] = {"requests": "user", "texts": "raw"}
    return roles.get(contrast, "assistant")


def pair_sides(rows: Tensor, ids: Iterable[str], concepts: Mapping[str, Mapping[str, Any]]) -> dict[str, Sides]:
    """Both sides of every concept, from `rows` [layers, texts, d] of `ids`, as `contrast_texts` names texts."""
    place = {id_: number for number, id_ in enumerate(ids)}
    above, below = (
        {name: rows[:, [place[f"{pair['id']}:{side}"] for pair in concept["pairs"]]]
         for name, concept in concepts.items()}
        for side in SIDES
    )  # fmt: skip
    return {name: (above[name], below[name]) for name in concepts}


def described_policy(contrast: Contrast, tokens: str) -> str:
    """What vectors say of the tokens they were taken from: the policy, named apart where it is not an answer's own."""
    return {"requests": f"request {tokens}", "instructed": f"instructed {tokens}", "texts": f"text {tokens}"}.get(
        contrast, tokens
    )


def unread(concepts: Mapping[str, Mapping[str, Any]], contrast: Contrast) -> str | None:
    """What the pairs of `concepts` hold that `contrast` does not read, in a sentence; None where it reads all sides."""
    left = {"requests": ("positive", "negative"), "instructed": ("positive",), "texts": ("prompt",)}.get(contrast, ())
    held = [key for key in left if any(pair.get(key) for concept in concepts.values() for pair in concept["pairs"])]
    if not held:
        return None
    instead = "contrast: answers" if contrast == "texts" else "contrast: answers, or texts without the requests"
    return (
        f"contrast: {contrast} does not read the pairs' {' and '.join(held)}, so these do not enter the vectors; "
        f"language.activations.{instead}, does."
    )


# Both sides of concepts' contrast pairs as a language model reads them, in memory.


def contrast_sides(
    model: LanguageModel,
    concepts: Mapping[str, Mapping[str, Any]],
    contrast: Contrast,
    tokens: str,
    *,
    batch_size: int = 32,
) -> dict[str, Sides]:
    """By concept, the rows of both sides of its pairs; `concepts` as in pairs.json, `tokens` as `pooled_residuals`."""
    texts = contrast_texts(concepts, contrast)
    rows = pooled_once(model, list(texts.values()), role_of(contrast), tokens, batch_size=batch_size)
    return pair_sides(rows, texts, concepts)


# Directions along which a concept is taken out of what a model writes although its prompt asks for it.


def removal_vectors(
    model: LanguageModel,
    concepts: Mapping[str, Mapping[str, Any]],
    *,
    tokens: str = "content",
    estimator: EstimatorName = "mean_difference",
    shuffles: int = 0,
    batch_size: int = 32,
) -> dict[str, SteeringVectors]:
    """One direction per concept and layer: what the words that ask for it change in the tokens of a plain answer.

    `concepts` as in pairs.json. A concept's own vector says what it takes to begin a text that shows it; this one says
    what the request does to every token that is written, and its origin is where the tokens of plain answers lie. So
    projecting it out at all layers leaves the answer to the plain request. `tokens`: which of an answer's are looked at
    (content, last, span:START:STOP). Raises UserError where no vector can be fitted, as `residual_vectors` does.
    """
    sides = contrast_sides(model, concepts, "instructed", tokens, batch_size=batch_size)
    return {
        name: residual_vectors(
            positive, negative, model.hookpoints, concept=name, model=model.fingerprint, estimator=estimator,
            policy=described_policy("instructed", tokens), shuffles=shuffles,
        )
        for name, (positive, negative) in sides.items()
    }  # fmt: skip
