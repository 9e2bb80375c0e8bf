"""A heat map as a table: layers down, tokens across; numbers on hover, words in the cells where there are any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steerwright.lab.charts.style import number
from steerwright.report.html.page import Html, el

if TYPE_CHECKING:
    from steerwright.lab.operations.explore_layers import Guess, LayerExploration

# Above this share of the scale letters are drawn in the page's own colour, to stand off from the cell's.
_DEEP = 0.55


def heatmap(
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    unit: str,
    caption: str = "",
    top: float | None = None,
    signed: bool = False,
    words: Sequence[Sequence[str]] | None = None,
    hover: Sequence[Sequence[str]] | None = None,
    here: int | None = None,
    sure: Sequence[int] = (),
) -> Html:
    """`values` [rows, columns] as colours from 0 to `top` (default: the largest), or -top to top where `signed`.

    `unit` says what a colour means, beside the scale. `words` stand in the cells, `hover` replaces the number that a
    cell shows under the pointer; `here` is a row to stress, `sure` names for each column the row from which on its word
    stays the same (-1: none), which is outlined. Values that are not finite leave their cell empty.
    """
    finite = [abs(value) for row in values for value in row if math.isfinite(value)]
    top = max(finite, default=0.0) if top is None else top
    up = max((len(name) for name in columns), default=0) > 2 and words is None
    head = [el("th", el("span", _seen(name)), class_="up" if up else None, title=name) for name in columns]
    body = []
    for place, (name, row) in enumerate(zip(rows, values, strict=True)):
        cells = [el("th", name, scope="row")]
        for column, value in enumerate(row):
            word = None if words is None else words[place][column]
            told = number(value) if hover is None else hover[place][column]
            stays = bool(sure) and sure[column] == place
            cells.append(_cell(value, top, signed, word, f"{columns[column]} · {name}: {told}", stays))
        body.append(el("tr", *cells, class_="here" if place == here else None))
    least = f"{number(-top)}" if signed else "0"
    ramp = el("div", least, el("i"), f"{number(top)}", el("span", unit), class_="ramp signed" if signed else "ramp")
    table = el("table", el("thead", el("tr", el("th", ""), *head)), el("tbody", *body), class_="heat", aria_label=title)
    below = [el("figcaption", caption)] if caption else []
    return el(
        "figure", el("h4", title), ramp, el("div", table, class_="scroll", tabindex=0), *below, class_="lab-chart"
    )


def _cell(value: float, top: float, signed: bool, word: str | None, told: str, stays: bool) -> Html:
    if not math.isfinite(value):
        return el("td", "", class_="none")
    share = min(abs(value) / top, 1.0) if top > 0 else 0.0
    looks = ["cold"] * (signed and value < 0) + ["word"] * (word is not None) + ["deep"] * (share > _DEEP)
    looks += ["sure"] * stays
    shown = "" if word is None else _seen(word)
    return el("td", shown, style=f"--share:{share:.3f}", title=told, class_=" ".join(looks) or None)


def _seen(token: str) -> str:
    """A token as it can be seen: a space in front is what separates words and is left out, a line's end is a sign."""
    return token.replace("\n", "\u21b5").strip() or "\u2423"


# Where a layer stands in the model's depth, and what its stage is for.


def depth_strip(layer: int, layers: int) -> Html:
    """All layers in a row, grouped by stage, the chosen one marked."""
    groups = []
    for stage in STAGES:
        own = layers_of(stage, layers)
        if not own:
            continue
        cells = [el("i", class_="here" if number == layer else None, title=f"layer {number}") for number in own]
        current = stage is stage_of(layer, layers)
        words = (el("b", stage.name), el("span", stage.short))
        look = "stage here" if current else "stage"
        groups.append(el("div", el("div", *cells, class_="cells"), *words, class_=look, style=f"flex-grow:{len(own)}"))
    return el("div", *groups, class_="depth-strip", role="img", aria_label=f"Layer {layer} of {layers}")


def depth_card(layer: int, layers: int, measured: Sequence[tuple[str, str]]) -> Html:
    """What the layer's stage is for, what a push there does, and numbers with what each means."""
    stage = stage_of(layer, layers)
    numbers = [el("div", el("b", value), el("span", words)) for value, words in measured]
    return el(
        "div",
        el("div", el("h3", f"Layer {layer}: {stage.name.lower()}"), el("p", stage.text),
           el("p", el("b", "Steering here. "), stage.steering), class_="words"),
        el("div", *numbers, class_="numbers"),
        class_="depth-card",
    )  # fmt: skip


# The logit lens as a table: what each layer would say next, at each word of an answer.


def lens_chart(found: LayerExploration, here: int | None = None) -> Html:
    """The table of guesses: layers down, words across, tinted by the probability; the layer `here` is stressed."""
    first = [[guesses[0] for guesses in row] for row in found.guesses]
    hover = [[", ".join(_told(one) for one in guesses) for guesses in row] for row in found.guesses]
    return heatmap(
        [[one.probability for one in row] for row in first],
        [f"block {layer}" for layer in range(found.layers)],
        found.words,
        title="What each layer would say next",
        unit="probability of the guess",
        caption="Across: the words of the answer. Each cell is what the model would have said there, had it stopped "
        "after that block. Outlined: from here on down the guess stays. Point at a cell for its three best guesses.",
        top=1.0,
        words=[[one.token for one in row] for row in first],
        hover=hover,
        sure=found.settled,
        here=here,
    )


def _told(guess: Guess) -> str:
    return f"{guess.token.strip() or repr(guess.token)} {100 * guess.probability:.0f} %"


# What a layer's depth tells of its work: four stages, in words.


@dataclass(frozen=True, slots=True)
class DepthStage:
    """A stretch of a model's depth: from `start` (a share of all layers) to the next stage's."""

    name: str
    start: float
    short: str
    text: str
    steering: str


STAGES = (
    DepthStage(
        "Reading",
        0.0,
        "what the tokens are",
        "The first blocks take in single tokens: which word a piece of spelling belongs to, what kind of word it is, "
        "what stands right beside it. Little of the sentence's meaning is there yet.",
        "A push here is rewritten by every block that follows. It often changes single words, or breaks spelling "
        "before it changes the manner.",
    ),
    DepthStage(
        "Gathering",
        0.25,
        "what the text is about",
        "Attention has moved things together: the topic, who does what, what was asked. Concepts such as a mood begin "
        "to lie along directions of their own.",
        "Often the best place to begin: the concept is there as one direction, and enough blocks follow to turn it "
        "into fitting words.",
    ),
    DepthStage(
        "Deciding",
        0.5,
        "what to say, and in which manner",
        "What the answer will be like is settled here: tone, style, how long it will be. Held-out examples of a "
        "concept are usually told apart best around here.",
        "Works well too, and with less strength in units of the residual norm. The later it is, the more the push acts "
        "on the next word alone.",
    ),
    DepthStage(
        "Speaking",
        0.75,
        "which token comes next",
        "The last blocks turn the decision into one token. Read with the model's own output layer, the vector now says "
        "almost what the model will say.",
        "Mostly too late: few blocks are left to make sense of a push, so it favours certain words instead of a "
        "manner.",
    ),
)


def stage_of(layer: int, layers: int) -> DepthStage:
    """The stage of `layer`, counted from 0, in a model of `layers`; a layer belongs where its middle lies."""
    depth = (layer + 0.5) / layers
    return [stage for stage in STAGES if stage.start <= depth][-1]


def layers_of(stage: DepthStage, layers: int) -> tuple[int, ...]:
    """The layers of a model of `layers` that belong to `stage`; none in a very shallow model."""
    return tuple(layer for layer in range(layers) if stage_of(layer, layers) is stage)
