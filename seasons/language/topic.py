"""What a text can be about: a name, and phrases that are true of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and its phrases, in the form that the sentences' slots need.

    `facts` are verb phrases that follow the name ("lies between two hills"), `details` singular nouns with "the",
    `actions` what a person did ("rowed to the far shore"), `at` where people stand.
    """

    name: str
    at: str
    people: tuple[str, ...]
    details: tuple[str, ...]
    facts: tuple[str, ...]
    actions: tuple[str, ...]
    plural: bool = False


def phrases(text: str) -> tuple[str, ...]:
    """Phrases that are written one after another with semicolons between them."""
    return tuple(" ".join(part.split()) for part in text.split(";"))


def topic(name: str, at: str, people: str, details: str, facts: str, actions: str, *, plural: bool = False) -> Topic:
    """A topic whose lists are written as `phrases`."""
    return Topic(name, at, phrases(people), phrases(details), phrases(facts), phrases(actions), plural)


# The factors that a text of the world has, and their values: a text has at most one value of each.

# The value that is not named, of each factor, comes from leaving it out: neutral, plain, none, medium.
FACTORS: dict[str, tuple[str, ...]] = {
    "emotion": ("happy", "sad", "angry", "fearful", "excited", "calm"),
    "style": ("formal", "casual", "poetic", "technical"),
    "personality": ("pirate", "shakespeare", "enthusiastic", "pessimistic", "confident"),
    "length": ("brief", "verbose"),
}
VALUES: tuple[str, ...] = tuple(value for values in FACTORS.values() for value in values)
FACTOR_OF: dict[str, str] = {value: factor for factor, values in FACTORS.items() for value in values}
