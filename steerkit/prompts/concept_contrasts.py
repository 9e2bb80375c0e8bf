"""The two sides of a concept's contrast pairs, as a language model reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from steerkit.activations.collect_residuals import AnsweredText

Contrast = Literal["requests", "answers"]
CONTRASTS: tuple[str, ...] = get_args(Contrast)
SIDES = ("positive", "negative")


def contrast_texts(concepts: Mapping[str, Mapping[str, Any]], contrast: Contrast) -> dict[str, AnsweredText]:
    """Both sides of every pair of `concepts` (as in pairs.json), by `ID:positive` and `ID:negative`.

    - `requests`: the pair's request with the words that ask for the concept, against the request alone; where the
      answer begins the model has read all of it, so its last token is what to take (arXiv:2308.10248).
    - `answers`: the answer that shows the concept against its plain counterpart (arXiv:2312.06681).
    """
    found: dict[str, AnsweredText] = {}
    for concept in concepts.values():
        for pair in concept["pairs"]:
            request = pair["prompt"]
            if contrast == "requests":
                sides = (AnsweredText(f"{request} {concept['instruction']}"), AnsweredText(request))
            else:
                sides = (AnsweredText(pair["positive"], request), AnsweredText(pair["negative"], request))
            found |= {f"{pair['id']}:{side}": text for side, text in zip(SIDES, sides, strict=True)}
    return found


def described_policy(contrast: Contrast, tokens: str) -> str:
    """What vectors say of the tokens they were taken from: the policy, named apart where requests were read."""
    return f"request {tokens}" if contrast == "requests" else tokens
