"""Which labels a prompt names: the truth that its pictures are held to."""

import re
from functools import cache

from steerwright.world.captions import PLACE_PHRASES, SEASON_ADJECTIVES, SEASON_PHRASES, TIME_PHRASES
from steerwright.world.labels import LABELS


def named_labels(prompt: str) -> dict[str, str | None]:
    """The value of each label that the prompt names in the world's vocabulary, None where it names none or several."""
    found: dict[str, str | None] = {}
    for label in LABELS:
        values = {value for value, pattern in _patterns(label).items() if pattern.search(prompt.lower())}
        found[label] = values.pop() if len(values) == 1 else None
    return found


@cache
def _patterns(label: str) -> dict[str, re.Pattern[str]]:
    """For each value, the world's phrases, and the value's own word: `at a lake` means the lake in other words too."""
    phrases: dict[str, tuple[str, ...]] = {
        "season": {value: (*SEASON_PHRASES[value], *SEASON_ADJECTIVES[value]) for value in LABELS["season"]},
        "place": PLACE_PHRASES,
        "time": TIME_PHRASES,
    }.get(label, {})
    return {
        # `on a hot summer day` is said of nights too, so the bare word names no time.
        value: re.compile(r"\b(" + "|".join(map(re.escape, ({value} - {"day"}) | {*phrases.get(value, ())})) + r")\b")
        for value in LABELS[label]
    }
