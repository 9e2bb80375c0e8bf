"""What was found, in words: formats of numbers, and the headline numbers of the gallery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steerwright.report.flux.content import FluxContent
from steerwright.report.flux.statistics import Choice, Ends, Prediction
from steerwright.report.html.labelled_grid import signed
from steerwright.report.html.page import Html, el
from steerwright.report.html.theme import DASH, MINUS, THIN, decimal, percent, span
from steerwright.report.html.words import Headline
from steerwright.report.latents.words import number

LEAST_SHARE, LEAST_POINTS = 0.5, 0.4
MATCHED = 0.7


def whole(count: int) -> str:
    """12288 as `12 288`, with thin gaps."""
    return f"{count:,}".replace(",", THIN)


def density(value: float | None) -> str:
    """A share of images in per cent, with as many places as it needs."""
    if value is None:
        return DASH
    return f"{100 * value:.2g}{THIN}%" if 0 < value < 0.1 else f"{100 * value:.0f}{THIN}%"


def between(low: float | None, high: float | None, places: int = 2) -> str:
    """`0.93 to 0.98`; nothing where there is no interval."""
    if low is None or high is None:
        return ""
    first, last = decimal(low, places), decimal(high, places)
    return last if first == last else f"{first} to {last}"


def points(value: float) -> str:
    """A difference of two shares: `+92 points`."""
    rounded = round(100 * value)
    sign = MINUS if rounded < 0 else "+" if rounded > 0 else ""
    return f"{sign}{abs(rounded)} point{'' if abs(rounded) == 1 else 's'}"


def points_between(low: float, high: float) -> str:
    """`+83 to +99 points`."""
    first, last = points(low), points(high)
    return last if first == last else f"{first.split()[0]} to {last}"


def chance(value: float) -> str:
    """A probability: `0.04`, or `< 0.001`."""
    return "< 0.001" if value < 0.001 else decimal(value, 3 if value < 0.01 else 2)


def counts(content: FluxContent) -> str:
    """`512 pictures of 128 prompts; 2 layers with 2 048 latents, 1 804 of them alive; 20 selected.`"""
    images = content.images
    latents = sum(layer.statistics.height for layer in content.layers)
    alive = sum(int(layer.statistics["alive"].sum()) for layer in content.layers)
    selected = sum(layer.selected.height for layer in content.layers)
    parts = [f"{whole(images.height)} pictures of {number(images['prompt_id'].n_unique(), 'prompt')}"]
    of_them = f"{number(len(content.layers), 'layer')} with {whole(latents)} latents, {whole(alive)} of them alive"
    parts += [of_them if latents else number(len(content.layers), "layer"), f"{selected} selected"]
    return "; ".join(parts)


def chip(label: str | None, text: str) -> Html:
    """A label and value with the label's colour."""
    from steerwright.report.flux.report_folder import label_variable

    return el("span", text, class_="chip", style=f"--chip:var(--{label_variable(label)})")


def headlines(
    content: FluxContent, chosen: Sequence[Choice], predicted: Sequence[Prediction], steered: Sequence[Ends]
) -> list[Headline]:
    """Interpretable features, whether coherence predicts it, the best steering, the layers' match; those there are."""
    found = [_interpretable(content, chosen), _predicted(predicted), steered_words(steered), _matched(content)]
    return [headline for headline in found if headline is not None]


def _interpretable(content: FluxContent, chosen: Sequence[Choice]) -> Headline | None:
    first = {choice.layer: choice for choice in reversed(chosen)}
    if not first:
        return None
    rows = [first[layer.name] for layer in content.layers if layer.name in first]
    count, total = sum(row.selected.count for row in rows), sum(row.selected.total for row in rows)
    beside = ". ".join(
        f"{row.layer.capitalize()} {row.selected.count} of {row.selected.total}; as many drawn at random from its "
        f"alive latents: {percent(row.pool.estimate)} ({span(row.low, row.high)})"
        for row in rows
    )
    sentence = (
        f"of the selected features match a label of their pictures with an AUROC of at least "
        f"{content.interpretable:g}. {beside}."
    )
    met = all(row.selected.estimate >= LEAST_SHARE and row.beats for row in rows)
    bar = "at least half in each layer, and more than 97.5 % of random choices"
    return Headline(f"{count} of {total}", sentence, bar, met)


def _predicted(predicted: Sequence[Prediction]) -> Headline | None:
    known = [row for row in predicted if row.auc is not None]
    if not known:
        return None
    each = "; ".join(f"{row.layer.capitalize()} {decimal(row.auc, 2)} ({between(row.low, row.high)})" for row in known)
    mean = sum(row.auc or 0.0 for row in known) / len(known)
    sentence = (
        "is how well coherence tells interpretable latents from others: the chance that of one of each, the "
        f"interpretable one is the more coherent (0.5: no better than guessing). {each}."
    )
    return Headline(decimal(mean, 2), sentence, "", None)


def steered_words(steered: Sequence[Ends]) -> Headline | None:
    about = [one for one in steered if one.feature.label.get("label") in ("season", "object")] or list(steered)
    if not about:
        return None
    # A strip of three pictures goes from none to all by luck: what is said first is of grids, which have more.
    most = max(one.pairs for one in about)
    best = next(one for one in about if 2 * one.pairs >= most)
    sentence = (
        f"percentage points ({points_between(best.low, best.high)}): {percent(best.rate_minus)} of {best.pairs} "
        f"pictures show {best.feature.label['value']} at {signed(best.minus)} and {percent(best.rate_plus)} at "
        f"{signed(best.plus)} of latent {best.feature.latent} ({best.feature.layer.name}), in units of the mean norm "
        "of what the layer computes."
    )
    return Headline(
        points(best.difference).split()[0], sentence, "at least 40 points, a season or an object",
        best.difference >= LEAST_POINTS,
    )  # fmt: skip


def _matched(content: FluxContent) -> Headline | None:
    if content.matches.height == 0 or content.matched is None:
        return None
    first, second = content.matched
    correlations = content.matches["correlation"].drop_nulls()
    median = f"median correlation {decimal(correlations.median(), 2)}"  # type: ignore[arg-type]
    share, bar = content.comparison.get("share_above_chance"), content.comparison.get("chance_high")
    if share is not None:
        sentence = (
            f"of the pairs that matching makes of {first} and {second} latents correlate more over the same pictures "
            f"than 95 % of pairs made with shuffled pictures do ({decimal(bar, 2)}); {median}."
        )
        return Headline(percent(share), sentence, "", None)
    share = float((correlations >= MATCHED).sum()) / max(1, len(correlations))
    sentence = (
        f"of the matched pairs of {first} and {second} latents are active on the same pictures (correlation of at "
        f"least {MATCHED:g}); {median}."
    )
    return Headline(percent(share), sentence, "", None)


def said(value: Any) -> str:
    """A value of a summary for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return whole(value)
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", MINUS)
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')} {said(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(said, value))
    return DASH if value is None else str(value)


# Tables that can be sorted by any column, with what each number means under its name.


@dataclass(frozen=True, slots=True)
class Head:
    """A column: its name, what its numbers mean and their unit, and whether they are numbers."""

    name: str
    words: str = ""
    number: bool = True


def cell(
    shown: str, value: float | str | None = None, small: str = "", number: bool = True, wrap: bool = False
) -> Html:
    """A cell; `value` is what it is sorted by (nothing sorts last), `small` stands below."""
    kind = "n" if number else "wrap" if wrap else None
    parts = [shown, el("small", small)] if small else [shown]
    return el("td", *parts, class_=kind, data_v="" if value is None else f"{value}")


def nothing(number: bool = True) -> Html:
    """The cell of a number that is not known."""
    return cell(DASH, None, number=number)


def row_head(shown: Html | str, value: float | str) -> Html:
    """The head of a row, with what it is sorted by."""
    return el("th", shown, scope="row", data_v=f"{value}")


def sortable(label: str, heads: Sequence[Head], rows: Sequence[Html], caption: str = "") -> Html:
    """The table, which scrolls within itself on a narrow screen and can be scrolled by keyboard."""
    top = [
        el("th", el("span", head.name), el("small", head.words) if head.words else "", scope="col",
           class_="n" if head.number else None, data_name=head.name)
        for head in heads
    ]  # fmt: skip
    said = [el("caption", caption)] if caption else []
    table = el("table", *said, el("thead", el("tr", *top)), el("tbody", *rows), class_="wide sortable")
    return el("div", table, class_="scroll", role="region", aria_label=label, tabindex=0)


def share_bar(value: float | None) -> Html:
    """A small bar as wide as a share."""
    width = 0.0 if value is None else min(max(value, 0.0), 1.0)
    return el("span", el("span", style=f"width:{100 * width:.1f}%"), class_="share", aria_hidden="true")
