"""The factors that a text of the world has, and their values: a text has at most one value of each."""

# The value that is not named, of each factor, comes from leaving it out: neutral, plain, none, medium.
FACTORS: dict[str, tuple[str, ...]] = {
    "emotion": ("happy", "sad", "angry", "fearful", "excited", "calm"),
    "style": ("formal", "casual", "poetic", "technical"),
    "personality": ("pirate", "shakespeare", "enthusiastic", "pessimistic", "confident"),
    "length": ("brief", "verbose"),
}
VALUES: tuple[str, ...] = tuple(value for values in FACTORS.values() for value in values)
FACTOR_OF: dict[str, str] = {value: factor for factor, values in FACTORS.items() for value in values}
