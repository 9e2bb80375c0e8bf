"""What was asked of an edit and what came, in words that need no glossary."""

from collections.abc import Mapping
from typing import Any

from steerwright.report.attention.content import AttentionContent, EditTables
from steerwright.report.html.theme import decimal, percent, span
from steerwright.report.html.words import Headline

KIND_NAMES = {
    "all": "All prompts", "outdoor": "Outdoors", "indoor": "Indoors", "contains": "Prompts that name it",
    "neighbour": "Prompts that name something near to it", "other": "Other prompts",
    "without": "Prompts that do not name it",
}  # fmt: skip
JUDGES = {
    "concept_by_labels": "by the label classifier", "concept_by_clip": "by CLIP",
    "concept_probability": "by CLIP's mean probability",
}  # fmt: skip


def asked(scores: EditTables) -> str:
    """What was asked, in one sentence."""
    concept = scores.concept
    if scores.action == "add":
        return f"Asked: whatever the prompt says, “{concept}” comes into the picture, and the rest stays."
    if scores.action == "erase":
        return f"Asked: “{concept}” leaves the pictures whose prompts name it, and all others stay as they are."
    return f"Asked: where a prompt names “{concept}”, “{scores.wanted}” comes instead; all other pictures stay."


def operating_point(scores: EditTables) -> str:
    """Strength, places and the rest of the operating point, in one sentence."""
    point = scores.point
    parts = [f"strength {_said(point['strength'])}"]
    # Erasing and replacing count in shares of what is there; only adding has units.
    if scores.action == "add" and point.get("units") is not None:
        parts[0] += f" ({_said(point['units'])} units)"
    parts.append(f"places {_said(point['places'])}")
    if point.get("attention", "both") != "both":
        parts.append(f"{_said(point['attention'])}-attention")
    names = {"branch": "guidance branch", "bound": "bound", "gate": "gate"}
    parts += [f"{name} {_said(point[key])}" for key, name in names.items() if point.get(key) is not None]
    verdict = ""
    if point.get("goal") is not None:
        goal = point["goal"]
        shown = percent(goal) if isinstance(goal, float) and 0 <= goal <= 1 else _said(goal)
        reached = point.get("reached")
        verdict = (
            f" Its goal there, {shown}, was {'reached' if reached else 'not reached'}." if reached is not None else ""
        )
    return f"Operating point, chosen on tuning prompts: {', '.join(parts)}.{verdict}"


def headlines(content: AttentionContent, scores: EditTables) -> list[Headline]:
    """How often what was wanted is seen, what stayed beside it, and what changed where nothing should."""
    found = [_rate(content, scores), _kept(content, scores), _distance(content, scores)]
    return [headline for headline in found if headline is not None]


def counts(content: AttentionContent) -> str:
    """`2 edits, 30 prompts, 8 seeds: 1200 pictures`."""
    images = content.images
    edits, prompts, seeds = len(content.chosen), images["prompt"].n_unique(), images["seed"].n_unique()
    return (
        f"{number(edits, 'edit')}, {number(prompts, 'prompt')}, {number(seeds, 'seed')}: "
        f"{number(images.height, 'judged picture')}"
    )


def interval(row: Mapping[str, Any], rate: bool) -> str:
    """`(89 to 98 %)`, nothing where there is no interval."""
    if row["low"] is None or row["high"] is None:
        return ""
    return f" ({around(row['low'], row['high'], rate)})"


def around(low: float, high: float, share: bool) -> str:
    """`89 to 98 %`, or for what is no share `0.012 to 0.020`; one number where both round to the same."""
    if share:
        return span(low, high)
    first, last = decimal(low), decimal(high)
    return last if first == last else f"{first} to {last}"


def measure_key(measure: str) -> str:
    """A measure of the comparisons as the aggregate calls it: `concept by labels` is `concept_by_labels`."""
    return measure.replace(" ", "_")


def number(count: int, noun: str) -> str:
    """`1 prompt`, `2 prompts`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _rate(content: AttentionContent, scores: EditTables) -> Headline | None:
    kind, metric = scores.measured, scores.rate
    row = scores.at("steered", kind, metric)
    if row is None:
        return None
    rest = []
    for condition, words in (("unsteered", "without steering"), ("random", "with a random direction as strong")):
        other = scores.at(condition, kind, metric)
        if other:
            rest.append(f"{percent(other['estimate'])} {words}")
    where = {"contains": f"of pictures whose prompt names “{scores.concept}”", "outdoor": "of outdoor pictures"}
    shown = "still show it" if (kind, scores.action) == ("contains", "erase") else f"show “{scores.wanted}”"
    sentence = (
        f"{where.get(kind, 'of pictures')} {shown}, {JUDGES[metric]}{interval(row, True)}"
        + (f"; {' and '.join(rest)}" if rest else "") + "."
    )  # fmt: skip
    return Headline(percent(row["estimate"]), sentence, *_bar(content, scores, kind, metric))


def _kept(content: AttentionContent, scores: EditTables) -> Headline | None:
    kind = scores.measured
    row = scores.at("steered", kind, "others_kept")
    if row is None:
        return None
    random = scores.at("random", kind, "others_kept")
    sentence = (
        f"of what else these pictures show stays as it was{interval(row, True)}"
        + (f"; {percent(random['estimate'])} with a random direction" if random else "") + "."
    )  # fmt: skip
    return Headline(percent(row["estimate"]), sentence, *_bar(content, scores, kind, "others_kept"))


def _distance(content: AttentionContent, scores: EditTables) -> Headline | None:
    kind = scores.away or scores.measured
    row = scores.at("steered", kind, "lpips")
    if row is None:
        return None
    rest = ""
    if scores.away:
        where = {
            "without": f"on prompts that do not name “{scores.concept}”",
            "other": f"on prompts that name neither “{scores.concept}” nor anything near to it",
            "neighbour": f"on prompts that name something near to “{scores.concept}”",
        }[kind]
        near = scores.at("steered", "neighbour", "lpips") if kind != "neighbour" else None
        changed = scores.at("steered", kind, "changed")
        rest += f"; a label changes in {percent(changed['estimate'])} of them" if changed else ""
        rest += f"; the distance is {decimal(near['estimate'])} where they name something near to it" if near else ""
    else:
        where = "in the same pictures"
        words = scores.at("prompt", kind, "lpips")
        rest += f"; {decimal(words['estimate'])} when the words are in the prompt instead" if words else ""
    sentence = (
        f"is the mean distance ({content.perceptual}) to the unsteered picture, {where}{interval(row, False)}{rest}."
    )
    return Headline(decimal(row["estimate"]), sentence, *_bar(content, scores, kind, "lpips"))


def _bar(content: AttentionContent, scores: EditTables, kind: str, metric: str) -> tuple[str, bool | None]:
    """What had been hoped for of this number, and whether it came, where a comparison says so."""
    rows = content.comparisons.filter(edit=scores.name, kind=kind, condition="steered")
    for row in rows.to_dicts():
        if measure_key(row["measure"]) == metric:
            return str(row["bar"] or ""), row["met"]
    return "", None


def _said(value: object) -> str:
    """A value of the operating point for people."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_said(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_said(one) for one in value)
    return str(value)
