"""Groups of prompts by how much they resist a concept: one list of words, for the keyword strategy and the scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from steerkit.adaptive.closed_loop import ClosedLoop
from steerkit.adaptive.keywords import Keywords, Resistance, resistance
from steerkit.adaptive.projection import Projection
from steerkit.adaptive.strategy import parse_strategy

WORD_KEYS = ("high", "medium", "low", "default")


def strategy_with_words(
    params: Mapping[str, Any], words: Mapping[str, Any], where: str = "strategy"
) -> Keywords | Projection | ClosedLoop:
    """The strategy that params describe; the keyword strategy takes its lists from `words`.

    Raises UserErrors with every problem as `key.path: message`.
    """
    whole = {**params, **words} if params.get("kind") == "keywords" else params
    return parse_strategy(whole, where)


def resistance_groups(words: Mapping[str, Any], prompts: Sequence[str]) -> list[Resistance]:
    """The group of each prompt, by its words alone, whatever strategy doses it."""
    # Multipliers play no part in the grouping; the strategy's own checks of the lists do.
    multipliers = {"high": 3, "medium": 2, "low": 1}
    grouping = parse_strategy({"kind": "keywords", "multipliers": multipliers, **words}, "resistance")
    assert isinstance(grouping, Keywords)
    return [resistance(grouping, prompt)[0] for prompt in prompts]
