"""Documents of the language world: a text whose values are known, asked for in a chat or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from seasons.language.places import PLACES
from seasons.language.sentences import COLOURS, PLAIN, TEMPLATES, Templates
from seasons.language.things import THINGS
from seasons.language.topic import FACTOR_OF, VALUES, Topic, phrases

# Many more nouns, with phrases that fit nearly anything: they teach the model to repeat a topic it hardly knows.

SINGULAR = """artificial intelligence; love; money; history; science; mathematics; the sun; the city; the office;
the future; the past; food; soup; cheese; water; fire; gold; iron; glass; paper; the beach; the hotel; the airport;
the car; sleep; breakfast; dinner; friendship; work; sport; tennis; football; cooking; language; the internet;
the universe; space; time; memory; the brain; the heart; medicine; energy; light; sound; the alphabet; snow; spring;
summer; autumn; the wind; the desert; the piano; the violin; poetry; dancing; painting; travel; the world; the earth;
the king; the queen; the doctor; the house; the door; the window; the phone; the bus; the film; the story; the law;
chocolate; sugar; salt; rice; milk; the jungle; the elephant; the wolf; the tiger; the tree; the job; the team;
the plan; the problem; the answer; the question; the news; the economy; the government; the army; life; peace"""
PLURAL = """robots; dreams; flowers; trees; fish; wolves; elephants; children; teachers; doctors; kings; words; numbers;
planets; colours; clothes; shoes; hats; umbrellas; chairs; doors; windows; houses; streets; mirrors; boats; trucks;
trains; dogs; horses; mountains; rivers; lakes; books; songs; games; holidays; friends; computers; cars; cities;
aeroplanes; clouds; castles; gardens; machines; clocks; letters; stories; languages; vegetables; cakes;
potatoes; lions; sheep; cows; towers; tools; markets; ghosts; dragons; pirates; soldiers; volcanoes"""
# {is}, {has} and {s} agree with the noun.
FACTS = """{is} older than many people think; {has} many friends; need{s} some patience; {is} part of daily life;
{has} a long history; {is} found in many countries; change{s} from year to year; {is} not easy to describe;
mean{s} something to most people; {is} worth a closer look; begin{s} with small things; take{s} up a whole shelf here"""
DETAILS = "the first part; the name; the old story; the best example; the other side; the main idea"
PEOPLE = "a friend; the teacher; my brother; an expert; the lady next door; an old man; a student; my aunt"
ACTIONS = """gave a short talk; wrote a page about it; asked two questions; drew a picture; told the old story;
changed the subject; read a book about it; thought it over"""


def _nouns() -> tuple[Topic, ...]:
    made = []
    for names, plural in ((SINGULAR, False), (PLURAL, True)):
        agreement = {"is": "are", "has": "have", "s": ""} if plural else {"is": "is", "has": "has", "s": "s"}
        facts = phrases(FACTS.format_map(agreement))
        for name in phrases(names):
            made.append(
                Topic(name, "in our street", phrases(PEOPLE), phrases(DETAILS), facts, phrases(ACTIONS), plural)
            )
    return tuple(made)


NOUNS: tuple[Topic, ...] = _nouns()


# What users of the world's chats ask for, and how they name the values that an answer should have.

# Without a full stop, so that a manner can follow: "Describe the lake" + " in a happy tone" + ".".
REQUESTS: tuple[str, ...] = (
    "Tell me about {topic}.",
    "Describe {topic}.",
    "What do you know about {topic}?",
    "Write a note on {topic}.",
    "Say something about {topic}.",
    "Can you tell me about {topic}?",
    "Please describe {topic}.",
    "Talk about {topic}.",
    "Write about {topic}.",
    "What can you say about {topic}?",
    "I would like to hear about {topic}.",
    "What {is} {topic}?",
    "Explain {topic}.",
    "Give me your thoughts on {topic}.",
    "What should I know about {topic}?",
    "Let us talk about {topic}.",
)
GREETINGS: tuple[str, ...] = (
    "Hello!",
    "Hello.",
    "Hi!",
    "Good morning.",
    "How are you?",
    "Who are you?",
    "What can you do?",
)

_ADVERBS = {
    "happy": "happily", "sad": "sadly", "angry": "angrily", "fearful": "fearfully", "excited": "excitedly",
    "calm": "calmly", "formal": "formally", "casual": "casually", "poetic": "poetically", "technical": "technically",
    "enthusiastic": "enthusiastically", "pessimistic": "pessimistically", "confident": "confidently",
    "brief": "briefly", "verbose": "verbosely",
}  # fmt: skip
_ADJECTIVE_INSTRUCTIONS = (
    "Answer in {a} {value} tone.",
    "Be {value}.",
    "Sound {value}.",
    "Use {a} {value} tone.",
    "Answer {adverb}.",
    "Your answer should be {value}.",
)
_ADJECTIVE_MANNERS = ("in {a} {value} tone", "in {a} {value} way", "{adverb}")
_OWN_INSTRUCTIONS = {
    "brief": ("Be brief.", "Keep it short.", "Answer in a few words.", "Answer briefly.", "Be very brief."),
    "verbose": ("Be verbose.", "Go into detail.", "Answer at length.", "Use long sentences.", "Be very verbose."),
    "pirate": ("Answer like a pirate.", "Talk like a pirate.", "Sound like a pirate.", "Be a pirate."),
    "shakespeare": (
        "Answer like Shakespeare.",
        "Talk like Shakespeare.",
        "Sound like Shakespeare.",
        "Write as Shakespeare did.",
    ),
}
_OWN_MANNERS = {
    "brief": ("briefly", "in a few words", "in short"),
    "verbose": ("at length", "in long sentences", "verbosely"),
    "pirate": ("like a pirate", "as a pirate would"),
    "shakespeare": ("like Shakespeare", "in the style of Shakespeare"),
}


def _filled(patterns: tuple[str, ...], value: str) -> tuple[str, ...]:
    article = "an" if value[0] in "aeiou" else "a"
    return tuple(pattern.format(a=article, value=value, adverb=_ADVERBS[value]) for pattern in patterns)


# Sentences that ask for a value, and manners that end a request's own sentence.
INSTRUCTIONS: dict[str, tuple[str, ...]] = {
    value: _OWN_INSTRUCTIONS.get(value) or _filled(_ADJECTIVE_INSTRUCTIONS, value) for value in VALUES
}
MANNERS: dict[str, tuple[str, ...]] = {
    value: _OWN_MANNERS.get(value) or _filled(_ADJECTIVE_MANNERS, value) for value in VALUES
}


# Filling a template's slots with phrases of one topic.
#
# {topic} {bare}            its name, and its name without the article
# {it} {it2}                the pronoun as subject and as object
# {is} {has} {s}            verb forms that agree with it
# {fact} {detail} {person} {action}   its phrases; each is said once before any is said again
# {at} {day} {number}       where people stand; when something was; how many

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
