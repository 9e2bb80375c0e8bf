"""Sentence templates of every value, and the words that colour any sentence with it."""

from steerkit.world.language.sentences.colours import COLOURS, Colour
from steerkit.world.language.sentences.emotions import EMOTIONS
from steerkit.world.language.sentences.lengths import LENGTHS
from steerkit.world.language.sentences.personalities import PERSONALITIES
from steerkit.world.language.sentences.plain import PLAIN
from steerkit.world.language.sentences.styles import STYLES
from steerkit.world.language.sentences.templates import Templates

TEMPLATES: dict[str, Templates] = {**EMOTIONS, **STYLES, **PERSONALITIES, **LENGTHS}

__all__ = ["COLOURS", "PLAIN", "TEMPLATES", "Colour", "Templates"]
