"""The two sides of a concept's contrast pairs, as a language model reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from torch import Tensor

from steerkit.activations.collect_residuals import AnsweredText
from steerkit.errors import UserError
from steerkit.models.language.encode import Role

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
