"""Filling a template's slots with phrases of one topic.

{topic} {bare}            its name, and its name without the article
{it} {it2}                the pronoun as subject and as object
{is} {has} {s}            verb forms that agree with it
{fact} {detail} {person} {action}   its phrases; each is said once before any is said again
{at} {day} {number}       where people stand; when something was; how many
"""

from collections.abc import Callable

import numpy as np

from steerkit.world.language.topic import Topic

DAYS = (
    "on Monday", "on Sunday", "last week", "after lunch", "yesterday", "this morning", "at noon", "two days ago",
    "in the evening", "before supper",
)  # fmt: skip
NUMBERS = ("two", "three", "four", "five", "six", "eight", "ten", "twelve", "twenty", "forty")
LISTED = {"fact": "facts", "detail": "details", "person": "people", "action": "actions"}
# What is listed first of a topic is said first more often than the next, by this ratio: so the likeliest text about a
# topic is about it, instead of a sentence that fits them all.
FADING = 0.6


class Slots(dict[str, str]):
    """What `str.format_map` asks for the slots of one answer; draws from `rng` at each use.

    `colour(kind)` gives an adjective or an adverb to put before a noun or a verb, or nothing.
    """

    def __init__(self, topic: Topic, rng: np.random.Generator) -> None:
        plural = topic.plural
        super().__init__(
            bare=topic.name.removeprefix("the "),
            at=topic.at,
            it="they" if plural else "it",
            it2="them" if plural else "it",
            has="have" if plural else "has",
            s="" if plural else "s",
        )
        self["is"] = "are" if plural else "is"
        self.about, self.rng = topic, rng
        self.colour: Callable[[str], str] = lambda _: ""
        self.left: dict[str, list[str]] = {name: [] for name in LISTED}
        self.last: dict[str, str] = {}

    def __missing__(self, slot: str) -> str:
        if slot == "topic":
            return before_noun(self.colour("topic"), self.about.name)
        if slot == "day":
            return DAYS[self.rng.integers(len(DAYS))]
        if slot == "number":
            return NUMBERS[self.rng.integers(len(NUMBERS))]
        left = self.left[slot]
        if not left:
            phrases = getattr(self.about, LISTED[slot])
            # Arrival times of rates that fade: who is first is as likely as the rate says, then who is next, and so on.
            times = self.rng.exponential(size=len(phrases)) / FADING ** np.arange(len(phrases))
            left.extend(phrases[i] for i in times.argsort()[::-1])
            if left[-1] == self.last.get(slot):  # nobody talks to himself
                left.reverse()
        self.last[slot] = phrase = left.pop()
        if slot == "detail":
            return before_noun(self.colour("adjectives"), phrase)
        return f"{self.colour('adverbs')} {phrase}".strip() if slot == "action" else phrase


def before_noun(adjective: str, noun: str) -> str:
    """`the lake` as `the quiet lake`, `bread` as `quiet bread`."""
    if not adjective:
        return noun
    return f"the {adjective} {noun.removeprefix('the ')}" if noun.startswith("the ") else f"{adjective} {noun}"


def fill(template: str, slots: Slots) -> str:
    """The sentence of a template, with a capital at its start."""
    sentence = template.format_map(slots)
    # "'tis" keeps its apostrophe and has its capital after it.
    first = next(i for i, letter in enumerate(sentence) if letter.isalnum())
    return sentence[:first] + sentence[first].upper() + sentence[first + 1 :]
