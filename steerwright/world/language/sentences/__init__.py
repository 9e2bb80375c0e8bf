"""Sentence templates of every value, and the words that colour any sentence with it."""

from steerwright.world.language.sentences.colours import COLOURS, Colour
from steerwright.world.language.sentences.emotions import EMOTIONS
from steerwright.world.language.sentences.lengths import LENGTHS
from steerwright.world.language.sentences.personalities import PERSONALITIES
from steerwright.world.language.sentences.plain import PLAIN
from steerwright.world.language.sentences.styles import STYLES
from steerwright.world.language.sentences.templates import Templates

TEMPLATES: dict[str, Templates] = {**EMOTIONS, **STYLES, **PERSONALITIES, **LENGTHS}

__all__ = ["COLOURS", "PLAIN", "TEMPLATES", "Colour", "Templates"]
