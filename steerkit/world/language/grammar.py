"""Documents of the language world: a text whose values are known, asked for in a chat or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from steerkit.world.language.factors import FACTOR_OF, VALUES
from steerkit.world.language.nouns import NOUNS
from steerkit.world.language.places import PLACES
from steerkit.world.language.requests import GREETINGS, INSTRUCTIONS, MANNERS, REQUESTS
from steerkit.world.language.sentences import COLOURS, PLAIN, TEMPLATES, Templates
from steerkit.world.language.slots import Slots, fill
from steerkit.world.language.things import THINGS
from steerkit.world.language.topic import Topic

T = TypeVar("T")
TOPICS: tuple[Topic, ...] = PLACES + THINGS
# Shares of documents. A chat that names no value is mostly answered plainly; the rest is why an unsteered model finds
# a steered sentence unusual, not impossible.
CHAT, NOUN, GREETING = 0.85, 0.15, 0.02
NAMED, NAMED_TWO, RAW_VALUE, RAW_TWO = 0.6, 0.45, 0.75, 0.3
UNASKED = {"brief": 0.06, "verbose": 0.03, **{v: 0.022 for v in VALUES if FACTOR_OF[v] != "length"}}
# A text with a value says something plain in between, or turns to its value after a plain opening, this often.
PLAIN_BETWEEN, LATE_TURN = 0.08, 0.2
# A sentence with a value is a plain one in its colours this often; and how often each of its parts is coloured.
COLOURED = 0.5
COLOUR_SHARES = {"topic": 0.25, "adjectives": 0.5, "adverbs": 0.5, "leads": 0.35, "tails": 0.4}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, the value that it has (None: plain), its template, and values that only a word or two of it have."""

    text: str
    value: str | None
    template: str
    touched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """One text: the request that it answers (None: it answers none), its sentences, the values that were meant."""

    prompt: str | None
    sentences: tuple[Sentence, ...]
    values: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(sentence.text for sentence in self.sentences)


def pick(choices: Sequence[T], rng: np.random.Generator) -> T:
    """One of the choices, all alike."""
    return choices[int(rng.integers(len(choices)))]


def answer(topic: Topic, values: Sequence[str], rng: np.random.Generator, late: bool = False) -> tuple[Sentence, ...]:
    """An answer about `topic` whose sentences take turns in having `values`.

    With "brief" it is one short sentence, with "verbose" one to three long ones, else two or three. `late`: the first
    one is plain.
    """
    slots, used = Slots(topic, rng), set[str]()
    manners = [value for value in values if FACTOR_OF[value] != "length"]
    rng.shuffle(manners)

    def say(value: str | None, kind: str) -> Sentence:
        plain = value is None or (value in COLOURS and rng.random() < COLOURED)
        templates: Templates = PLAIN if plain else TEMPLATES[value or ""]
        template = pick([one for one in getattr(templates, kind) if one not in used], rng)
        used.add(template)
        if value is None or value == "brief":
            return Sentence(fill(template, slots), value, template)
        return _coloured(template, value, manners, slots, rng, used, frame=plain)

    if "brief" in values:
        value = manners[0] if manners else "brief"
        return (Sentence(fill(pick(TEMPLATES[value].short, rng), slots), value, ""),)
    if "verbose" in values:
        turns = [*manners, "verbose"] if manners else ["verbose"] * int(rng.integers(1, 3))
        rng.shuffle(turns)
    else:
        count = max(int(rng.integers(2, 4)), len(manners))
        turns = [manners[i % len(manners)] for i in range(count)] if manners else [""] * count
        if manners and late:
            turns = ["", *turns]
        elif len(manners) == 1 and rng.random() < PLAIN_BETWEEN:
            turns[-1] = ""
    return tuple(say(value or None, "further" if i else "openings") for i, value in enumerate(turns))


def _coloured(
    template: str,
    value: str,
    values: Sequence[str],
    slots: Slots,
    rng: np.random.Generator,
    used: set[str],
    frame: bool,
) -> Sentence:
    """A sentence with words of `value` put in; now and then one of another of the text's values.

    A plain `frame` wears at least two of `value`, leads and tails among them; a sentence of the value's own needs none.
    """
    worn: dict[str, str] = {}

    def colour(kind: str) -> str:
        if rng.random() >= COLOUR_SHARES[kind]:
            return ""
        whose = pick(values, rng) if values and rng.random() < 0.3 else value
        choices = getattr(COLOURS[whose], "adjectives" if kind == "topic" else kind)
        word: str = pick([choice for choice in choices if choice not in used] or choices, rng)
        worn[word] = whose
        return word

    slots.colour = colour
    while True:
        worn.clear()
        lead, tail = (colour("leads"), colour("tails")) if frame else ("", "")
        text = fill(f"{lead} {template[:-1]}{tail}{template[-1]}".strip(), slots)
        if not frame or list(worn.values()).count(value) >= 2:
            break
    slots.colour = lambda _: ""
    used.update(worn)
    return Sentence(text, value, template, tuple(dict.fromkeys(name for name in worn.values() if name != value)))


def request(topic: Topic, values: Sequence[str], rng: np.random.Generator) -> str:
    """A user's words that ask for `topic`, naming `values` before, after, or within the request."""
    asked = pick(REQUESTS, rng).format(topic=topic.name, **{"is": "are" if topic.plural else "is"})
    named = list(values)
    rng.shuffle(named)
    if named and rng.random() < 0.35:
        value, named = named[0], named[1:]
        asked = f"{asked[:-1]} {pick(MANNERS[value], rng)}{asked[-1]}"
    said = [pick(INSTRUCTIONS[value], rng) for value in named]
    return " ".join([*said, asked] if rng.random() < 0.4 else [asked, *said])


def two_values(rng: np.random.Generator) -> tuple[str, str]:
    """Two values that one text can have: any but two lengths."""
    while True:
        first, second = rng.choice(len(VALUES), 2, replace=False)
        if {VALUES[first], VALUES[second]} != {"brief", "verbose"}:
            return VALUES[first], VALUES[second]


def unasked_value(rng: np.random.Generator) -> tuple[str, ...]:
    """The values of an answer to a request that names none: mostly none."""
    names = list(UNASKED)
    at = int(np.searchsorted(np.cumsum([UNASKED[name] for name in names]), rng.random(), side="right"))
    return (names[at],) if at < len(names) else ()


def random_topic(rng: np.random.Generator) -> Topic:
    """A topic of the world, or now and then one of the many other nouns."""
    return pick(NOUNS if rng.random() < NOUN else TOPICS, rng)


def document(rng: np.random.Generator) -> Document:
    """A document of the corpus."""
    topic = random_topic(rng)
    chat, draw = rng.random() < CHAT, rng.random()
    if draw < (NAMED if chat else RAW_VALUE):
        two = rng.random() < (NAMED_TWO if chat else RAW_TWO)
        values: tuple[str, ...] = two_values(rng) if two else (pick(VALUES, rng),)
        named, late = (values if chat else ()), not chat and rng.random() < LATE_TURN
    else:
        values = unasked_value(rng) if chat else ()
        named, late = (), rng.random() < LATE_TURN
    prompt = request(topic, named, rng) if chat else None
    if prompt is not None and rng.random() < GREETING:
        said = [pick(INSTRUCTIONS[value], rng) for value in named]
        prompt = " ".join([pick(GREETINGS, rng), *said])
    return Document(prompt, answer(topic, values, rng, late), values)
