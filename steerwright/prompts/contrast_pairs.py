"""Contrast pairs: two prompts that differ in the concept and in nothing else."""

from dataclasses import dataclass
from pathlib import Path

from steerwright.errors import UserErrors
from steerwright.prompts.table import read_table


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
