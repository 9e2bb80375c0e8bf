"""Which concepts reached what had been hoped for, and what the others lacked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steerkit.report.language.content import RANDOM, STEERED, UNSTEERED, Bars, LanguageContent
from steerkit.report.theme import decimal, percent


@dataclass(frozen=True, slots=True)
class Verdict:
    """One concept under one way of decoding; `lacks` says in words what was missed, and is empty where it was met."""

    concept: str
    decoding: str
    lacks: tuple[str, ...]

    @property
    def met(self) -> bool:
        return not self.lacks


def verdicts(content: LanguageContent) -> list[Verdict]:
    """One for every concept and way of decoding for which there are steered texts."""
    return [
        Verdict(concept, decoding, _lacks(scores, content.bars))
        for concept in content.concepts
        for decoding in content.decodings
        if STEERED in (scores := content.scores(concept, decoding))
    ]


def reached(content: LanguageContent) -> dict[str, bool]:
    """Concept -> whether it was met under every way of decoding."""
    found: dict[str, bool] = {}
    for one in verdicts(content):
        found[one.concept] = found.get(one.concept, True) and one.met
    return found


def _lacks(scores: Mapping[str, Mapping[str, Any]], bars: Bars) -> tuple[str, ...]:
    """What was not measured cannot be met."""
    steered, plain, control = scores[STEERED], scores.get(UNSTEERED), scores.get(RANDOM)
    found = []
    if steered["rate"] < bars.rate:
        found.append(f"{percent(steered['rate'])} of steered texts")
    if plain is None:
        found.append("no unsteered texts")
    elif plain["rate"] > bars.unsteered:
        found.append(f"{percent(plain['rate'])} of unsteered texts already")
    if steered["ratio"] is None:
        found.append("perplexity not measured")
    elif steered["ratio"] > bars.ratio:
        found.append(f"perplexity {decimal(steered['ratio'], 2)}\u00d7")
    if control is None:
        found.append("no random direction")
    # A hair of tolerance: 0.3 - 0.2 is more than 0.1 to a computer.
    elif plain is not None and control["rate"] > plain["rate"] + bars.random + 1e-9:
        found.append(f"{percent(control['rate'])} with a random direction")
    return tuple(found)
