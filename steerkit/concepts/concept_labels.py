"""Which concepts each prompt names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steerkit.errors import UserError

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True, eq=False)
class ConceptLabels:
    """Concepts `axis:value` of prompts. `codes` int64 [prompts, axes]: a concept's place in `concepts`, or -1 where the
    prompt names none on that axis. `axes` holds the concepts' places by axis, in the order of the columns of `codes`.
    """

    prompts: tuple[str, ...]
    concepts: tuple[str, ...]
    axes: Mapping[str, tuple[int, ...]]
    codes: NDArray[np.int64]


def concept_labels(prompts: pl.DataFrame, axes: Sequence[str]) -> ConceptLabels:
    """Read the columns `axes` of a table of prompts (id, and one text column per axis, null where it is not named).

    Concepts are in the order of the axes, and of their values in the alphabet. Raises UserError for a column that is
    missing, ids that are not unique, and an axis that no prompt names.
    """
    if not axes or len(set(axes)) != len(axes):
        raise UserError(f"The axes of concepts are {', '.join(axes) or 'missing'}; name at least one, each once.")
    missing = [name for name in ("id", *axes) if name not in prompts.columns]
    if missing:
        raise UserError(f"The prompts have no column {', '.join(missing)}; they have {', '.join(prompts.columns)}.")
    if prompts["id"].n_unique() != len(prompts):
        raise UserError("Several prompts have the same id; every id must be unique.")
    concepts: list[str] = []
    places: dict[str, tuple[int, ...]] = {}
    codes = np.full((len(prompts), len(axes)), -1, dtype=np.int64)
    for column, axis in enumerate(axes):
        values = prompts[axis].drop_nulls().unique().sort().to_list()
        if not values:
            raise UserError(f"No prompt names a value of the axis {axis!r}; leave it out of `axes`.")
        place = {value: len(concepts) + number for number, value in enumerate(values)}
        concepts += [f"{axis}:{value}" for value in values]
        places[axis] = tuple(place.values())
        codes[:, column] = [place.get(value, -1) for value in prompts[axis]]
    return ConceptLabels(tuple(prompts["id"]), tuple(concepts), places, codes)
