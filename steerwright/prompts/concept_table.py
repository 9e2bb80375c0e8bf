"""The table of prompts that know their concepts: its columns, the seed of each prompt, and how it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from steerwright.errors import UserError

if TYPE_CHECKING:
    import polars as pl

Split = Literal["train", "validation", "tuning", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
COLUMNS = ("id", "prompt", "split", "template", "seed")
# Seeds are whole numbers that JSON and float64 hold exactly.
_SEED_BITS = 53
T = TypeVar("T")


def read_concept_prompts(path: Path) -> pl.DataFrame:
    """The table that latents-prompts wrote; UserError when it is missing or is none."""
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"There is no {path}; run the stage that makes the prompts.") from None
    if missing := [column for column in COLUMNS if column not in frame.columns]:
        raise UserError(f"{path} has no column {' and no column '.join(missing)}; make the prompts again.")
    return frame


def prompt_schema(axes: Iterable[str]) -> dict[str, type[pl.DataType]]:
    """Names and types of the columns of a table of prompts with these axes."""
    import polars as pl

    fixed: dict[str, type[pl.DataType]] = dict.fromkeys(COLUMNS, pl.String)
    return {**fixed, "template": pl.Int64, "seed": pl.Int64, **dict.fromkeys(axes, pl.String)}


def seeds(ids: Sequence[str], salt: int) -> list[int]:
    """A seed for each id, made from it and `salt` alone, so that no other id changes it; ValueError if two collide.

    They have 53 bits: among a million ids, two collide with a probability of one in 18,000.
    """
    found = [hash_bits(f"{salt}/{id_}", _SEED_BITS) for id_ in ids]
    if len(set(found)) != len(found):
        raise ValueError(f"two of {len(ids)} prompts have the same seed with the salt {salt}; take another")
    return found


def hash_bits(text: str, bits: int) -> int:
    """The first bits of the text's SHA-256, as a number."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> (64 - bits)


def evenly(texts: Sequence[T], count: int) -> list[T]:
    """`count` of the texts, spread evenly over their order; all of them if there are no more."""
    if count >= len(texts):
        return list(texts)
    return [texts[index * len(texts) // count] for index in range(count)]
