"""What users of the world's chats ask for, and how they name the values that an answer should have."""

from steerkit.world.language.factors import VALUES

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
