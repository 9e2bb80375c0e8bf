"""Prompt suites: the prompts that are steered, and those that settings are tuned on."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from steerwright.errors import UserErrors
from steerwright.text_file import read_table

T = TypeVar("T")


def read_prompts(path: Path) -> dict[int, str]:
    """Prompts of a CSV with the columns ID and prompt, by id. Raises UserError as `read_table` does."""
    return {key: texts[0] for key, texts in read_table(path, ["prompt"]).items()}


def check_disjoint(scored: dict[int, str], tuning: dict[int, str], scored_path: Path, tuning_path: Path) -> None:
    """Raise UserErrors if a prompt is in both suites: settings must not be tuned on what is scored."""
    seen = {text.casefold(): key for key, text in scored.items()}
    both = [
        f"{text!r} is ID {seen[text.casefold()]} of {scored_path.name} and ID {key} of {tuning_path.name}"
        for key, text in tuning.items()
        if text.casefold() in seen
    ]
    if both:
        raise UserErrors("Prompts are tuned on and scored at once; take them out of the tuning set:", both)


# Contrast pairs: two prompts that differ in the concept and in nothing else.


@dataclass(frozen=True, slots=True)
class ContrastPair:
    """A prompt with the concept and the same prompt with its opposite."""

    id: int
    positive: str
    negative: str


def read_contrast_pairs(path: Path) -> list[ContrastPair]:
    """Pairs of a CSV with the columns ID, positive and negative, in order of id.

    Raises UserError as `read_table` does, and UserErrors for pairs whose two sides are the same text.
    """
    pairs = [ContrastPair(key, *texts) for key, texts in sorted(read_table(path, ["positive", "negative"]).items())]
    same = [f"ID {pair.id}: both sides are {pair.positive!r}" for pair in pairs if pair.positive == pair.negative]
    if same:
        raise UserErrors(f"{path} has pairs without a contrast:", same)
    return pairs
