"""Dose by words: how much a prompt resists is guessed from what it mentions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from steerwright.errors import UserErrors, problems_at

# What a strategy decides for one prompt.


@dataclass(frozen=True, slots=True)
class Dose:
    """How many times the fixed strength a prompt gets, and why, in words for the report."""

    multiplier: float
    reason: str


Resistance = Literal["high", "medium", "low"]
# A prompt that mentions words of several classes belongs to the one that resists most.
ORDER: tuple[Resistance, ...] = ("high", "medium", "low")


class Multipliers(BaseModel):
    """The dose of each class, in multiples of the fixed strength."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    high: float = Field(gt=0, allow_inf_nan=False)
    medium: float = Field(gt=0, allow_inf_nan=False)
    low: float = Field(gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _more_resistance_gets_more(self) -> Self:
        if not self.high > self.medium > self.low:
            raise ValueError(
                f"high > medium > low must hold, found {self.high}, {self.medium}, {self.low}: "
                "a prompt that resists more gets more"
            )
        return self


class Keywords(BaseModel):
    """Classes of resistance by whole words (or phrases), whatever their case; `default` where none is mentioned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["keywords"]
    high: tuple[str, ...]
    medium: tuple[str, ...]
    low: tuple[str, ...]
    multipliers: Multipliers
    default: Resistance

    @model_validator(mode="after")
    def _words_are_words_of_one_class(self) -> Self:
        seen: dict[str, Resistance] = {}
        for resistance in ORDER:
            for word in self.words(resistance):
                plain = " ".join(word.casefold().split())
                if not plain:
                    raise ValueError(f"{resistance} lists an empty word; every prompt would match it")
                if seen.setdefault(plain, resistance) != resistance:
                    raise ValueError(f"{word!r} is listed under {seen[plain]} and {resistance}; keep one of them")
        return self

    def words(self, resistance: Resistance) -> tuple[str, ...]:
        lists: dict[Resistance, tuple[str, ...]] = {"high": self.high, "medium": self.medium, "low": self.low}
        return lists[resistance]


def resistance(strategy: Keywords, prompt: str) -> tuple[Resistance, str | None]:
    """The class of `prompt`, and the first listed word that put it there (None: the default)."""
    text = " ".join(prompt.casefold().split())
    for name in ORDER:
        for word in strategy.words(name):
            plain = " ".join(word.casefold().split())
            if re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", text):
                return name, word
    return strategy.default, None


def keyword_doses(strategy: Keywords, prompts: Sequence[str]) -> list[Dose]:
    """The dose of each prompt, from its words alone."""
    doses = []
    for prompt in prompts:
        name, word = resistance(strategy, prompt)
        why = f"mentions {word!r}" if word is not None else "mentions no listed word (default)"
        doses.append(Dose(getattr(strategy.multipliers, name), f"{name} resistance: {why}"))
    return doses


def resistance_groups(words: Mapping[str, Any], prompts: Sequence[str]) -> list[Resistance]:
    """The group of each prompt by its words alone, whatever strategy doses it.

    `words` are the lists of the keyword strategy and its default. Raises UserErrors with every problem as
    `resistance.key: message`.
    """
    try:
        # Multipliers play no part in the grouping; the strategy's own checks of the lists do.
        grouping = Keywords(kind="keywords", multipliers=Multipliers(high=3, medium=2, low=1), **words)
    except ValidationError as error:
        problems = problems_at(error, "resistance")
        raise UserErrors("The words of resistance in params.yaml are not valid:", problems) from None
    return [resistance(grouping, prompt)[0] for prompt in prompts]
