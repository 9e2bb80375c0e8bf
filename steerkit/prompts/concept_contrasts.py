"""The two sides of a concept's contrast pairs, as a language model reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from torch import Tensor

from steerkit.activations.collect_residuals import AnsweredText
from steerkit.models.language.encode import Role

Contrast = Literal["requests", "answers", "instructed"]
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
    """
    found: dict[str, AnsweredText] = {}
    for concept in concepts.values():
        for pair in concept["pairs"]:
            request = pair["prompt"]
            asking = f"{request} {concept['instruction']}"
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
    return "user" if contrast == "requests" else "assistant"


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
    return {"requests": f"request {tokens}", "instructed": f"instructed {tokens}", "answers": tokens}[contrast]
