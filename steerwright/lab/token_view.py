"""An answer as HTML: each token tinted by how much steering changed its probability, with the numbers on hover."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from steerwright.report.html.theme import DASH, MINUS, THIN

if TYPE_CHECKING:
    from steerwright.lab.operations.steer_text import Answer, SteeredText, Token

TIMES = f"{THIN}\u00d7"
FULL = 4.0
"""Nats at which the tint is strongest: e^4 is 55 times likelier."""
_DEEPEST = 0.5


def answer_panel(title: str, body: str, foot: str = "") -> str:
    """One of the two columns; `body` and `foot` are HTML."""
    below = f'<p class="foot">{foot}</p>' if foot else ""
    return f'<section class="answer"><h3>{html.escape(title)}</h3><div class="text">{body}</div>{below}</section>'


def writing(pieces: Sequence[str]) -> str:
    """An answer while it is being written."""
    return f"{html.escape(''.join(pieces).lstrip())}<span class=caret></span>"


def coloured(answer: Answer) -> str:
    """The answer's tokens, tinted."""
    if not answer.tokens:
        return '<span class="muted">The model ended the answer at once.</span>'
    first, *rest = answer.tokens
    spans = [_span(first, first.text.lstrip()), *(_span(token, token.text) for token in rest)]
    return "".join(spans) + ("" if answer.ended else '<span class="muted" title="cut off at the limit"> …</span>')


def legend() -> str:
    """What the tints mean."""
    times = round(math.exp(FULL))
    return (
        '<div class="legend"><span>Steering made a token</span>'
        f"<span>{times}{TIMES} less likely</span><i></i><span>{times}{TIMES} likelier</span>"
        "<span class=muted>Point at a token for its numbers.</span></div>"
    )


def where(layers: Sequence[int]) -> str:
    """The layers in a word or two: layer 5, layers 1, 4, or layers 0 to 7."""
    first, last = layers[0], layers[-1]
    if len(layers) > 2 and list(layers) == list(range(first, last + 1)):
        return f"layers {first} to {last}"
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"


def summary(result: SteeredText) -> str:
    """What came of it, in a few numbers."""
    cells = [
        _cell(
            f"{name} shows",
            f"{share(result.unsteered.expressed[name])} → {share(value)}",
            "by the classifier of texts" if result.reader == "classifier" else "as the model itself reads it",
        )
        for name, value in result.steered.expressed.items()
    ]
    ratio = result.perplexity_ratio
    cells.append(
        _cell(
            "Perplexity",
            f"{plain(result.unsteered.perplexity)} → {plain(result.steered.perplexity)}",
            f"{plain(ratio)}{TIMES} the unsteered text's, by the unsteered model" if math.isfinite(ratio) else "",
        )
    )
    at = where(result.layers)
    if result.action == "add":
        words = f"strength {plain(result.strength)} moves a token by {plain(result.push)}{TIMES} that"
        cells.append(_cell(f"Vector's length at {at}", plain(result.norm), words))
    else:
        cells.append(_cell(f"Taken away at {at}", share(result.strength), "of the component along the concept"))
    return f'<dl class="facts">{"".join(cells)}</dl>'


def share(value: float) -> str:
    """0.94 as 94 %."""
    return f"{round(100 * value)}{THIN}%" if math.isfinite(value) else DASH


def plain(value: float) -> str:
    """A few digits, as many as matter, with a true minus."""
    if not math.isfinite(value):
        return DASH
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", MINUS)


def _cell(name: str, value: str, words: str) -> str:
    return f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}<small>{html.escape(words)}</small></dd></div>"


def _span(token: Token, text: str) -> str:
    change = token.change
    if not math.isfinite(change):
        return html.escape(text)
    strength = min(abs(change) / FULL, 1.0) * _DEEPEST
    colour = "up" if change > 0 else "down"
    times = math.exp(min(abs(change), 20.0))
    word = "as likely as before" if abs(change) < 0.01 else (
        f"{plain(times)}{TIMES} {'likelier' if change > 0 else 'less likely'}"
    )  # fmt: skip
    told = f"{share(math.exp(token.unsteered))} → {share(math.exp(token.steered))}: {word}"
    tint = f' style="background:rgba(var(--{colour}),{strength:.2f})"' if strength >= 0.01 else ""
    return f'<span class="tok" data-tip="{html.escape(told)}"{tint}>{html.escape(text)}</span>'


def expressed_words(expressed: Mapping[str, float]) -> str:
    """`happy 98 %, pirate 3 %`."""
    return ", ".join(f"{name} {share(value)}" for name, value in expressed.items())
