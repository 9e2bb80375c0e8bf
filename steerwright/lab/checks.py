"""What a visitor may ask for: every limit of the lab in one place, each with a message that says what to do."""

import re
from collections.abc import Collection
from typing import Any

from steerwright.arguments import finite_number
from steerwright.errors import UserError

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
LONGEST_TEXT = 2000
LONGEST_ANSWER = 200
MOST_PAIRS = 64
MOST_CONCEPTS = 6
MOST_OWN = 200
STRONGEST = 8.0
LARGEST_SEED = 2**32 - 1


def checked_name(name: Any) -> str:
    """A name for a concept of one's own: small letters, digits and inner hyphens, at most 40."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        shown = repr(name)[:60]
        raise UserError(
            f"{shown} cannot be a concept's name. Use 1 to 40 small letters, digits and hyphens, such as very-happy."
        )
    return name


def checked_choice(value: Any, known: Collection[str], what: str) -> str:
    """One of `known`."""
    if not isinstance(value, str) or value not in known:
        shown = repr(value)[:60]
        raise UserError(f"There is no {what} {shown}; choose one of {', '.join(sorted(known)) or 'none'}.")
    return value


def checked_text(value: Any, what: str, longest: int = LONGEST_TEXT) -> str:
    """A text that says something and is not too long; blanks around it are cut off."""
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        raise UserError(f"The {what} is empty; write something.")
    if len(text) > longest:
        raise UserError(f"The {what} has {len(text)} characters; at most {longest} are taken. Shorten it.")
    return text


def checked_number(value: Any, what: str, low: float, high: float) -> float:
    """A finite number from `low` to `high`."""
    number = _number(value)
    if number is None or not low <= number <= high:
        raise UserError(f"The {what} must be a number from {low:g} to {high:g}; found {str(value)[:40]}.")
    return number


def checked_whole(value: Any, what: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    number = _number(value)
    if number is None or number != int(number) or not low <= number <= high:
        raise UserError(f"The {what} must be a whole number from {low} to {high}; found {str(value)[:40]}.")
    return int(number)


def checked_strength(value: Any) -> float:
    """How far to steer, in shares of each token's norm; negative is away from the concept."""
    return checked_number(value, "strength", -STRONGEST, STRONGEST)


def checked_layer(value: Any, layers: int) -> int:
    """A layer that a model of `layers` has, counted from 0."""
    return checked_whole(value, "layer", 0, layers - 1)


def checked_tokens(value: Any) -> int:
    """How many tokens an answer may have."""
    return checked_whole(value, "number of tokens", 1, LONGEST_ANSWER)


def checked_seed(value: Any) -> int:
    return checked_whole(value, "seed", 0, LARGEST_SEED)


def checked_temperature(value: Any) -> float:
    """0 always takes the likeliest token."""
    return checked_number(value, "temperature", 0.0, 2.0)


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        # Fields of a page give texts.
        try:
            value = float(value)
        except ValueError:
            return None
    return finite_number(value)
