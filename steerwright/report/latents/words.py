"""What erasing did, in words that need no glossary."""

from collections.abc import Mapping
from typing import Any

from steerwright.report.html.theme import THIN, decimal, percent, span
from steerwright.report.html.words import Headline
from steerwright.report.latents.content import LatentsContent, concept_name, mean_name
from steerwright.scoring.erasure_samples import UNSTEERED
from steerwright.scoring.metrics import changes
from steerwright.scoring.unlearning import STEERED


def main_metrics() -> dict[str, tuple[str, str, bool]]:
    """Metric -> its name, what it means, and whether it is a share."""
    elsewhere = "to the unsteered picture, where there is no target"
    return {
        "ua": ("UA", "asked for, and not shown", True),
        "ira": ("IRA", "other values of its axis, right", True),
        "cra": ("CRA", "labels of other axes, right", True),
        "ira_relative": ("IRA / unsteered", "as a share of the unsteered IRA", True),
        "cra_relative": ("CRA / unsteered", "as a share of the unsteered CRA", True),
        "artifact_rate": ("Artifacts", "pictures that look spoilt, or like no unsteered one", True),
        "artifact_rate_named": ("Artifacts where erased", "of pictures whose prompt asks for the target", True),
        **{f"{name}_elsewhere": (f"{change.title}, elsewhere", elsewhere, False) for name, change in changes().items()},
        "fid": ("FID", "to the unsteered pictures, the target's prompts left out", False),
        "overhead": ("Time", "times the unsteered time of a picture", False),
    }


def further_metrics() -> dict[str, tuple[str, str, bool]]:
    """The same for those that stand in a table of their own."""
    unnamed = "the same where the prompt does not name the target"
    return {
        **{f"{name}_unnamed": (f"{change.title}, unnamed", unnamed, False) for name, change in changes().items()},
        "clip_target": ("Target, by CLIP", "its mean probability where it is asked for", True),
        "seconds_per_picture": ("Seconds a picture", "", False),
    }


def counts(content: LatentsContent) -> str:
    """`12 targets, 192 prompts: 7200 judged pictures`."""
    images = content.images
    return (
        f"{number(len(content.targets), 'target')}, {number(images['prompt_id'].n_unique(), 'prompt')}: "
        f"{number(images.height, 'judged picture')}"
    )


def number(count: int, noun: str) -> str:
    """`1 prompt`, `2 prompts`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def headlines(content: LatentsContent) -> list[Headline]:
    """How often targets are gone, the least that stays, artifacts, and how far pictures without the target move."""
    found: list[Headline | None] = [_gone(content, target) for target in _means(content)]
    found += [_kept(content), _artifacts(content), _elsewhere(content)]
    return [headline for headline in found if headline is not None]


def metric_name(content: LatentsContent, metric: str) -> tuple[str, str, bool]:
    """Name, meaning, and whether it is a share; distances carry the names of their scores."""
    known = main_metrics() | further_metrics()
    if metric.startswith("cra_") and metric not in known:
        axis = metric.removeprefix("cra_")
        return f"CRA, {axis} alone", f"{axis} right, where that is another axis", True
    name, meaning, share = known[metric]
    if metric == "fid":
        name = content.fid_name
    elif metric.startswith("lpips"):
        name = f"{content.perceptual}, {name.partition(', ')[2]}"
    return name, meaning, share


def shown_value(value: float, metric: str, share: bool) -> str:
    """A number of the tables."""
    if share:
        return percent(value)
    return f"{decimal(value, 2)}\u00d7" if metric == "overhead" else decimal(value)


def shown_interval(row: Mapping[str, Any], share: bool) -> str:
    """`89 to 98 %`; nothing where there is no interval."""
    if row["low"] is None or row["high"] is None:
        return ""
    if share:
        return span(row["low"], row["high"])
    first, last = decimal(row["low"]), decimal(row["high"])
    return last if first == last else f"{first} to {last}"


def said(value: object) -> str:
    """A value of an operating point for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')} {said(one)}" for key, one in value.items() if one is not None)
    if isinstance(value, list | tuple):
        return ", ".join(said(one) for one in value)
    return "none" if value is None else str(value)


def _means(content: LatentsContent) -> list[str]:
    return [name for name in content.means if name != "mean"]


def _all(content: LatentsContent) -> str | None:
    return content.means[-1] if content.means else None


def _gone(content: LatentsContent, target: str) -> Headline | None:
    rates = content.rates(target)
    row = rates.get((STEERED, "ua"))
    if row is None:
        return None
    beside = [
        f"{percent(other['estimate'])} {words}"
        for method, words in ((UNSTEERED, "without an edit"), ("ablation", "with plain ablation"),
                              ("saeuron", "as SAeUron edits"), ("random", "with random latents"))
        if (other := rates.get((method, "ua")))
    ]  # fmt: skip
    noun = mean_name(target).lower().removesuffix("s")
    sentence = (
        f"of pictures whose prompt asks for the erased {noun} do not show it ({shown_interval(row, True)})"
        + (f"; {', '.join(beside)}" if beside else "") + "."
    )  # fmt: skip
    bar, met = _bar(content, target, "ua")
    return Headline(_missed(row["estimate"]) if met is False else percent(row["estimate"]), sentence, bar, met)


def _kept(content: LatentsContent) -> Headline | None:
    found = []
    for target in _means(content):
        rates = content.rates(target)
        for metric, what in (("ira_relative", "the other {}"), ("cra_relative", "other labels, {} erased")):
            if row := rates.get((STEERED, metric)):
                found.append((row["estimate"], what.format(mean_name(target).lower()), row, target, metric))
    if not found:
        return None
    least = min(found, key=lambda one: one[0])
    listed = [f"{what} ({percent(value)})" for value, what, *_ in found]
    joined = listed[0] if len(listed) == 1 else ", ".join(listed[:-1]) + " and " + listed[-1]
    verdicts = [_bar(content, target, metric) for *_, target, metric in found]
    met = None if any(one[1] is None for one in verdicts) else all(one[1] for one in verdicts)
    sentence = f"is the least that stays right, as a share of what is right without an edit: {joined}."
    return Headline(percent(least[0]), sentence, verdicts[0][0], met)


def _artifacts(content: LatentsContent) -> Headline | None:
    target = _all(content)
    rates = content.rates(target) if target else {}
    row, plain = rates.get((STEERED, "artifact_rate")), rates.get((UNSTEERED, "artifact_rate"))
    if row is None or target is None:
        return None
    named = rates.get((STEERED, "artifact_rate_named"))
    beside = f"; {percent(named['estimate'])} of those that ask for the target" if named else ""
    beside += f"; {percent(plain['estimate'])} of the unsteered ones" if plain else ""
    sentence = f"of edited pictures look spoilt, or like no unsteered one ({shown_interval(row, True)}){beside}."
    bar, met = _bar(content, target, "artifact_rate")
    return Headline(_missed(row["estimate"]) if met is False else percent(row["estimate"]), sentence, bar, met)


def _elsewhere(content: LatentsContent) -> Headline | None:
    target = _all(content)
    row = content.rates(target).get((STEERED, "lpips_elsewhere")) if target else None
    if row is None or target is None:
        return None
    sentence = (
        f"is the mean distance ({content.perceptual}) of pictures that do not contain the target to their unsteered "
        f"ones ({shown_interval(row, False)})."
    )
    return Headline(decimal(row["estimate"]), sentence, *_bar(content, target, "lpips_elsewhere"))


def _missed(share: float) -> str:
    """To a decimal: 94.8 % that missed 95 % must not read as 95 %."""
    return f"{100 * share:.1f}{THIN}%"


def _bar(content: LatentsContent, target: str, metric: str) -> tuple[str, bool | None]:
    """What had been hoped for of this number, and whether it came."""
    for row in content.comparisons.filter(target=target, measure=metric, method=STEERED).to_dicts():
        return str(row["bar"] or ""), row["met"]
    return "", None


def concepts_of(targets: list[str]) -> str:
    """`winter, summer and car`."""
    names = [concept_name(target) for target in targets]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
