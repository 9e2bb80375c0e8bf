"""The headline numbers, in words that need no glossary."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from steerwright.report.html.theme import percent, span
from steerwright.stats.bootstrap import Interval

if TYPE_CHECKING:
    from steerwright.scoring.target import Target
    from steerwright.scoring.winter import WinterScores


@dataclass(frozen=True, slots=True)
class Headline:
    """A number, the sentence that it belongs to, and what had been hoped for with its verdict (None: no bar)."""

    number: str
    sentence: str
    bar: str
    met: bool | None


def headlines(scores: WinterScores) -> list[Headline]:
    """The answers to the four questions of `comparisons.compare`, those for which there is data."""
    answers = {row["name"]: row for row in scores.comparisons.iter_rows(named=True)}
    target = scores.target
    found = [_rate(answers, target), _kept(answers, target), _adaptive(answers, target), _random(answers, target)]
    return [headline for headline in found if headline is not None]


def counts(scores: WinterScores) -> str:
    """`30 prompts, 8 seeds each, 5 conditions: 1200 pictures`."""
    images: pl.DataFrame = scores.images
    prompts, conditions = images["prompt_id"].n_unique(), images["condition"].n_unique()
    seeds = images.group_by("prompt_id", "condition").len()["len"].unique().sort().to_list()
    each = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    noun = "seed" if seeds == [1] else "seeds"
    return f"{prompts} prompts, {each} {noun} each, {conditions} conditions: {images.height} pictures"


def _rate(answers: dict[str, Any], target: Target) -> Headline | None:
    question = f"a_{target.key}_{'outdoor' if target.outdoors else 'all'}"
    best = answers.get(f"{question}_adaptive") or answers.get(f"{question}_fixed")
    if best is None:
        return None
    rest = []
    if best["condition"] == "adaptive" and (fixed := answers.get(f"{question}_fixed")):
        rest.append(f"{percent(fixed['estimate'])} with one fixed strength")
    if unsteered := answers.get(f"{question}_unsteered"):
        rest.append(f"{percent(unsteered['estimate'])} without steering")
    sentence = (
        f"of {target.pictures} show {target.name} with {best['condition']} steering ({span(best['low'], best['high'])})"
        + (f"; {' and '.join(rest)}" if rest else "")
        + "."
    )
    return Headline(percent(best["estimate"]), sentence, best["bar"], best["met"])


def _kept(answers: dict[str, Any], target: Target) -> Headline | None:
    for condition in ("adaptive", "fixed"):
        names = [f"b_{label}_right_{condition}" for label in target.barred_labels]
        rows = [answers[name] for name in names if name in answers and answers[name]["met"] is not None]
        if rows:
            break
    else:
        return None
    least = min(rows, key=lambda row: row["estimate"])
    each = [f"{row['measure'].removesuffix(' right')} ({percent(row['estimate'])})" for row in rows]
    listed = each[0] if len(each) == 1 else ", ".join(each[:-1]) + " and " + each[-1]
    sentence = f"is the least that {listed} keep of their accuracy without steering, under {condition} steering."
    return Headline(percent(least["estimate"]), sentence, least["bar"], all(row["met"] for row in rows))


def _adaptive(answers: dict[str, Any], target: Target) -> Headline | None:
    rate = answers.get(f"c_{target.key}_high_adaptive_over_fixed")
    fidelity = answers.get("c_fidelity_high_adaptive_over_fixed")
    if rate is None or fidelity is None:
        return None
    sentence = (
        f"{target.name} pictures with adaptive instead of fixed strength, on the prompts that resist most "
        f"({span(rate['low'], rate['high'], signed=True)}{_no_difference(rate)}); fidelity "
        f"{percent(fidelity['estimate'], signed=True)} ({span(fidelity['low'], fidelity['high'], signed=True)}"
        f"{_no_difference(fidelity)})."
    )
    verdicts = [row["met"] for row in (rate, fidelity) if row["met"] is not None]
    return Headline(
        percent(rate["estimate"], signed=True), sentence, "one of the two at least +40 %, the other no lower",
        any(verdicts) if verdicts else None,
    )  # fmt: skip


def _random(answers: dict[str, Any], target: Target) -> Headline | None:
    random = answers.get(f"d_{target.changed}_random")
    if random is None:
        return None
    fixed = answers.get(f"d_{target.changed}_fixed")
    sentence = (
        f"of pictures change {target.changes} when they are pushed as hard in a random direction "
        f"({span(random['low'], random['high'])})"
        + (f"; {percent(fixed['estimate'])} in the {target.name} direction" if fixed else "")
        + "."
    )
    return Headline(percent(random["estimate"]), sentence, random["bar"], random["met"])


def _no_difference(row: dict[str, Any]) -> str:
    if row["low"] is None or row["high"] is None:
        return ""
    interval = Interval(row["estimate"], row["low"], row["high"], 0.95, row["prompts"], row["images"])
    return "" if interval.excludes(0) or math.isnan(interval.low) else ", no clear difference"
