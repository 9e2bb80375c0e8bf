"""How varied texts are, by their words: distinct n-grams over texts, and what a text repeats of itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of `text` in small letters, punctuation left out; an apostrophe inside a word belongs to it."""
    return _WORD.findall(text.lower())


def distinct(texts: Sequence[str], n: int) -> float:
    """Distinct word n-grams of all `texts` together, as a share of all their n-grams; NaN where there is none.

    An n-gram does not reach over two texts. The share falls with the number of texts, so that only equally many
    compare. Source: distinct-n of arXiv:1510.03055.
    """
    grams = [gram for text in texts for gram in _grams(words(text), n)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def repeated(text: str, n: int = 3) -> float:
    """The share of a text's word n-grams that stood in it before; 0 for a text of fewer than n words.

    Source: the repetition measure seq-rep-n of arXiv:1908.04319, on words.
    """
    grams = _grams(words(text), n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _grams(listed: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(listed[start : start + n]) for start in range(len(listed) - n + 1)]
