"""What steering did, in words that need no glossary."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

import polars as pl

from steerwright.report.html.theme import DASH, THIN, decimal, percent, span
from steerwright.report.html.words import Headline
from steerwright.report.language.content import (
    ASKED,
    INSTRUCTION,
    RANDOM,
    REMOVED,
    STEERED,
    UNSTEERED,
    Bars,
    LanguageContent,
    concept_name,
)
from steerwright.vectors.mixing import takes_turns

TIMES = "\u00d7"
# A text shows a concept where the judge gives it at least this.
PRESENT = 0.5
UNITS = {"relative": "of each token's norm", "unit": "in absolute units", "raw": "of the raw difference"}
DECODINGS = {"sampled": "Sampled", "greedy": "Greedy"}


def counts(content: LanguageContent) -> str:
    """`17 concepts, 48 prompts: 9792 judged texts`."""
    concepts, texts = len(content.concepts), content.texts
    if texts.height == 0:
        return number(concepts, "concept")
    prompts = texts["prompt_id"].n_unique()
    return f"{number(concepts, 'concept')}, {number(prompts, 'prompt')}: {number(texts.height, 'judged text')}"


def number(count: int, noun: str) -> str:
    """`1 prompt`, `2 prompts`; thousands are set apart."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}".replace(",", THIN)


def times(value: float | None, places: int = 2) -> str:
    """`1.25×`; a dash for what is undefined."""
    shown = decimal(value, places)
    return shown if shown == DASH else f"{shown}{TIMES}"


def listed(names: Sequence[str]) -> str:
    """`happy, sad and calm`."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else ""


def decoding_name(decoding: str) -> str:
    """A way of decoding for people."""
    return DECODINGS.get(decoding, decoding.capitalize())


def point_words(point: Mapping[str, Any]) -> str:
    """`layer 4, strength 0.8 of each token's norm, safe up to 1.2`; what is not known is left out."""
    parts = []
    if point.get("layer") is not None:
        parts.append(f"layer {point['layer']}")
    if point.get("strength") is not None:
        units = UNITS.get(str(point.get("units")), "")
        parts.append(f"strength {point['strength']:g} {units}".strip())
    if (highest := safe_to(point)) is not None:
        parts.append(f"safe up to {highest:g}")
    return ", ".join(parts)


def safe_to(point: Mapping[str, Any]) -> float | None:
    """The largest safe strength of an operating point."""
    safe = point.get("safe")
    return float(safe[-1]) if safe else None


def headlines(content: LanguageContent) -> list[Headline]:
    """How many concepts came as hoped, how often, what it cost, mixes, removal: those for which there is data."""
    found = [_reached(content), _rate(content), _ratio(content), _mixes(content), _removed(content)]
    return [headline for headline in found if headline is not None]


def numbers(content: LanguageContent) -> dict[str, float]:
    """The headlines as numbers, to compare runs by; those for which there is no data are left out."""
    found: dict[str, float] = {}
    if verdict := reached(content):
        found |= {"concepts": len(verdict), "concepts_as_hoped": sum(verdict.values())}
        for decoding in content.decodings:
            met = [one.met for one in verdicts(content) if one.decoding == decoding]
            found[f"concepts_as_hoped_{decoding}"] = sum(met)
    for condition in (STEERED, UNSTEERED, RANDOM, INSTRUCTION, REMOVED):
        if rates := means(content, condition, "rate"):
            found[f"rate_{condition}"] = round(mean(rates.values()), 6)
    if ratios := means(content, STEERED, "ratio"):
        found["perplexity_ratio"] = round(median(ratios.values()), 6)
    for way, shares in zip(("in_turns", "added"), _both(content), strict=True):
        if shares:
            found[f"mixes_{way}_show_all"] = round(mean(shares.values()), 6)
    return found


def missed(content: LanguageContent) -> str:
    """Which concepts did not reach what had been hoped for, and why; empty where all did."""
    parts: dict[str, dict[str, list[str]]] = {}
    for one in verdicts(content):
        if not one.met:
            parts.setdefault(one.concept, {}).setdefault(", ".join(one.lacks), []).append(one.decoding)
    found = []
    for concept, whys in parts.items():
        named = {why: f"{listed([decoding_name(name).lower() for name in by])}: " for why, by in whys.items()}
        said = [f"{'' if len(by) == len(content.decodings) else named[why]}{why}" for why, by in whys.items()]
        found.append(f"{concept_name(concept)} ({'; '.join(said)})")
    return "; ".join(found)


def _reached(content: LanguageContent) -> Headline | None:
    found, bars = reached(content), content.bars
    if not found:
        return None
    met = sum(found.values())
    by = {decoding_name(name).lower(): sum(one.met for one in verdicts(content) if one.decoding == name)
          for name in content.decodings}  # fmt: skip
    every = f", {listed(list(by))} alike ({listed([f'{count} {name}' for name, count in by.items()])})"
    sentence = (
        f"concepts came as hoped{every if len(by) > 1 else ''}: at least {percent(bars.rate)} of steered texts show "
        f"it, at most {percent(bars.unsteered)} of unsteered ones; perplexity at most {bars.ratio:g}{TIMES} "
        f"unsteered; a random direction adds at most {100 * bars.random:.0f} points."
    )
    # Fewer concepts than the bar counts cannot answer it.
    bar = f"at least {bars.concepts} concepts" if len(found) >= bars.concepts else ""
    return Headline(f"{met} of {len(found)}", sentence, bar, met >= bars.concepts if bar else None)


def _rate(content: LanguageContent) -> Headline | None:
    steered = means(content, STEERED, "rate")
    if not steered:
        return None
    beside = [
        f"{percent(mean(others.values()))} {words}"
        for condition, words in ((UNSTEERED, "unsteered"), (RANDOM, "with a random direction"),
                                 (INSTRUCTION, "when the prompt asks for it in words"))
        if (others := means(content, condition, "rate"))
    ]  # fmt: skip
    sentence = f"of steered texts show their concept, as {content.judge} reads them" + _beside(beside)
    return Headline(percent(mean(steered.values())), f"{sentence} (means over concepts).", "", None)


def _ratio(content: LanguageContent) -> Headline | None:
    steered = means(content, STEERED, "ratio")
    if not steered:
        return None
    least, most = min(steered, key=steered.__getitem__), max(steered, key=steered.__getitem__)
    sentence = "the unsteered perplexity: how unlikely steered texts are to the model without any edit"
    if len(steered) > 1:
        sentence += (
            f" (median over concepts, from {times(steered[least])} for {concept_name(least)} to "
            f"{times(steered[most])} for {concept_name(most)})"
        )
    if asked := means(content, INSTRUCTION, "ratio"):
        sentence += f"; {times(median(asked.values()))} where the prompt asks in words"
    sentence += "."
    return Headline(times(median(steered.values())), sentence, "", None)


def _mixes(content: LanguageContent) -> Headline | None:
    turns, added = _both(content)
    leading = turns or added
    if not leading:
        return None
    over = "of texts that concepts steer in turns show all of these" if turns \
        else "of texts steered with a mix show all of its concepts"  # fmt: skip
    if len(leading) > 1:
        over += f" (mean over {len(leading)} mixes, {span(min(leading.values()), max(leading.values()))})"
    if turns and added:
        over += f"; {percent(mean(added.values()))} where the directions are added"
    return Headline(percent(mean(leading.values())), f"{over}.", "", None)


def _both(content: LanguageContent) -> tuple[dict[str, float], dict[str, float]]:
    """Mix -> share of its texts that show all parts, the mean over ways of decoding: those in turns, those added."""
    rows = content.mixes.filter(pl.col("both").is_not_nan()).drop_nulls("both")
    found = rows.group_by("mix", maintain_order=True).agg(pl.col("both").mean()).rows()
    return {mix: share for mix, share in found if takes_turns(mix)}, dict(
        row for row in found if not takes_turns(row[0])
    )


def _removed(content: LanguageContent) -> Headline | None:
    left = means(content, REMOVED, "rate")
    if not left:
        return None
    before = means(content, ASKED, "rate") or means(content, INSTRUCTION, "rate")
    before = {concept: rate for concept, rate in before.items() if concept in left}
    beside = [f"{percent(mean(before.values()))} without the edit"] if before else []
    sentence = "of texts whose prompt asks for a concept still show it when the edit works against it" + _beside(beside)
    cost = means(content, REMOVED, "ratio")
    paid = f", at {times(median(cost.values()))} the perplexity (median)" if cost else ""
    return Headline(
        percent(mean(left.values())), f"{sentence} (means over {number(len(left), 'concept')}){paid}.", "", None
    )


def means(content: LanguageContent, condition: str, measure: str) -> dict[str, float]:
    """Concept -> the mean of a measure of the aggregate over the ways of decoding."""
    rows = content.aggregate.filter(pl.col("condition") == condition, pl.col(measure).is_not_nan())
    rows = rows.drop_nulls(measure).group_by("concept", maintain_order=True).agg(pl.col(measure).mean())
    return {concept: value for concept, value in rows.iter_rows() if concept in content.concepts}


def _beside(parts: Iterable[str]) -> str:
    joined = ", ".join(parts)
    return f"; {joined}" if joined else ""


# Which concepts reached what had been hoped for, and what the others lacked.


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
