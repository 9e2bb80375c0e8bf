"""Sentence templates of every value, and the words that colour any sentence with it."""

from seasons.language.sentences.colours import COLOURS, Colour
from seasons.language.sentences.emotions import EMOTIONS
from seasons.language.sentences.lengths import LENGTHS
from seasons.language.sentences.personalities import PERSONALITIES
from seasons.language.sentences.plain import PLAIN
from seasons.language.sentences.styles import STYLES
from seasons.language.sentences.templates import Templates

TEMPLATES: dict[str, Templates] = {**EMOTIONS, **STYLES, **PERSONALITIES, **LENGTHS}

__all__ = ["COLOURS", "PLAIN", "TEMPLATES", "Colour", "Templates"]
