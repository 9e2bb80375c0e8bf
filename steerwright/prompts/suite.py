"""Prompt suites: the prompts that are steered, and those that settings are tuned on."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from steerwright.errors import UserErrors
from steerwright.prompts.table import read_table

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


def evenly(texts: Sequence[T], count: int) -> list[T]:
    """`count` of the texts, spread evenly over their order; all of them if there are no more."""
    if count >= len(texts):
        return list(texts)
    return [texts[index * len(texts) // count] for index in range(count)]
