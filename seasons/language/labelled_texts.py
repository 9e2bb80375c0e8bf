"""Texts whose values are known, as a classifier meets them: whole and cut off, mixed, disturbed, and nonsense."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from seasons.language.grammar import Sentence, answer, pick, random_topic
from seasons.language.sentences import TEMPLATES
from seasons.language.topic import FACTOR_OF, VALUES

# One template of each value but the lengths, never trained on: what the classifier makes of them says how far it
# generalises.
KEPT_OUT: frozenset[str] = frozenset(TEMPLATES[value].further[7] for value in VALUES if FACTOR_OF[value] != "length")
KINDS = {"whole": 0.35, "cut": 0.35, "joined": 0.08, "disturbed": 0.08, "shuffled": 0.07, "looped": 0.07}
# A cut-off text has between 3 and 35 words, which are up to some 45 tokens.
CUT_WORDS = (3, 36)
# A text of one short sentence is brief whatever was meant by it; up to BRIEF_MAYBE words it is not said.
BRIEF_WORDS, BRIEF_MAYBE, VERBOSE_WORDS = 6, 11, 18


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text, how it was made (see KINDS), whether it came to its own end, and its values.

    `truth` float64 [values]: 1 the text has the value, 0 it has not, nan nobody can say.
    """

    kind: str
    text: str
    ended: bool
    truth: np.ndarray


def labelled_text(
    rng: np.random.Generator, kind: str | None = None, kept_out: Collection[str] = KEPT_OUT, only_kept: bool = False
) -> LabelledText:
    """A text of one of the KINDS (None: drawn by their shares).

    None of its sentences is of a template in `kept_out`; with `only_kept`, all but the first are.
    """
    kind = kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))
    sentences = _sentences(rng, kept_out, only_kept)
    if kind == "joined":
        sentences = [*sentences, *_sentences(rng, kept_out, only_kept)]
    words = " ".join(sentence.text for sentence in sentences).split()
    if kind == "shuffled" and len(words) >= 8:
        return LabelledText(kind, " ".join(rng.permutation(words)), bool(rng.random() < 0.5), np.zeros(len(VALUES)))
    if kind == "looped":
        start = int(rng.integers(len(words)))
        loop = words[start : start + int(rng.integers(1, 5))]
        said = (loop * 40)[: int(rng.integers(10, 41))]
        return LabelledText(kind, " ".join(said), bool(rng.random() < 0.2), np.zeros(len(VALUES)))
    ended = True
    if kind in ("cut", "joined"):
        shown = int(rng.integers(*CUT_WORDS))
        # A text that is all there may yet have been about to go on.
        ended, words = shown > len(words), words[:shown]
    truth = _truth(sentences, len(words), ended)
    if kind == "disturbed":
        words = [_misspelt(word, rng) if rng.random() < 0.08 else word for word in words]
    return LabelledText(kind, " ".join(words), ended, truth)


def _sentences(rng: np.random.Generator, kept_out: Collection[str], only_kept: bool) -> list[Sentence]:
    while True:
        count = rng.choice(4, p=(0.25, 0.5, 0.2, 0.05))
        values = [VALUES[i] for i in rng.choice(len(VALUES), count, replace=False)]
        if {"brief", "verbose"} <= set(values):
            continue
        found = list(answer(random_topic(rng), values, rng, late=bool(rng.random() < 0.1)))
        used = [sentence.template in kept_out for sentence in found]
        if only_kept and len(used) > 1 and all(used[1:]):
            return found[1:]
        if not only_kept and not any(used):
            return found


def _truth(sentences: list[Sentence], shown: int, ended: bool) -> np.ndarray:
    """What can be said of the first `shown` words; a value whose only sentence is cut is not said."""
    truth = np.zeros(len(VALUES))
    at = 0
    for sentence in sentences:
        length = len(sentence.text.split())
        seen, at = min(length, shown - at), at + length
        for touched in sentence.touched if seen > 0 else ():
            if truth[VALUES.index(touched)] != 1:
                truth[VALUES.index(touched)] = np.nan
        if sentence.value is None or seen <= 0:
            continue
        index = VALUES.index(sentence.value)
        if seen == length or (sentence.value == "verbose" and seen >= VERBOSE_WORDS):
            truth[index] = 1
        elif truth[index] != 1:
            truth[index] = np.nan
    one = len(sentences) == 1 and ended and truth[VALUES.index("verbose")] != 1
    brief = one and (shown <= BRIEF_WORDS or sentences[0].value == "brief")
    maybe = ended and shown <= BRIEF_MAYBE
    truth[VALUES.index("brief")] = 1 if brief else np.nan if maybe else 0
    return truth


def _misspelt(word: str, rng: np.random.Generator) -> str:
    """A word that no vocabulary has: what a model of few weights makes of a rare one, or a user's own."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tail = word[-1] if not word[-1].isalnum() else ""
    return word[:2] + "".join(pick(letters, rng) for _ in range(5)) + tail
