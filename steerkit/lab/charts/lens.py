"""The logit lens as a table: what each layer would say next, at each word of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steerkit.lab.charts.heatmap import heatmap
from steerkit.report.html import Html

if TYPE_CHECKING:
    from steerkit.lab.operations.explore_layers import Guess, LayerExploration


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
