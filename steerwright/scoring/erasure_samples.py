"""Which pictures show whether concepts are erased: prompts that name them and prompts that do not, with their seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from steerwright.errors import UserError
from steerwright.images import Sample
from steerwright.prompts.concept_table import evenly
from steerwright.scoring.erasure_target import ErasureTarget

if TYPE_CHECKING:
    import polars as pl

UNSTEERED = "unsteered"
STEERED = "steered"
"""The method that is searched for the least edit; the others stand beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureSample(Sample):
    """One picture that shows whether concepts are erased; `target` is None for unsteered ones."""

    target: str | None
    method: str
    strength: float
    prompt_id: str


def concepts_of(prompts: "pl.DataFrame", targets: Sequence[str], axes: Sequence[str]) -> list[str]:
    """The concepts (`season:winter`) that `targets` name: single ones, or axes, which stand for all of their values.

    Raises UserError for an axis that is not among `axes`, and for a value that no prompt names.
    """
    found: list[str] = []
    for target in targets:
        axis, _, value = target.partition(":")
        if axis not in axes or axis not in prompts.columns:
            raise UserError(f"There is no axis {axis!r} to erase {target!r} from; there are {', '.join(axes)}.")
        values = prompts[axis].drop_nulls().unique(maintain_order=True).to_list()
        if value and value not in values:
            raise UserError(f"No prompt names {target!r}; they name {', '.join(f'{axis}:{one}' for one in values)}.")
        found += [f"{axis}:{one}" for one in ([value] if value else values)]
    return list(dict.fromkeys(found))


def named_rows(prompts: "pl.DataFrame", target: str) -> list[bool]:
    """For each prompt whether it names a concept of `target`."""
    concepts = ErasureTarget.parse(target).concepts
    return [any(row[axis] == value for axis, value in concepts) for row in prompts.iter_rows(named=True)]


def tuning_rows(prompts: "pl.DataFrame", target: str, named: int, others: int) -> list[int]:
    """Rows of at most `named` prompts that name `target` and `others` that do not, evenly over their order.

    Raises UserError when no prompt names it.
    """
    names = named_rows(prompts, target)
    having = [row for row, name in enumerate(names) if name]
    if not having:
        raise UserError(f"No tuning prompt names {target!r}, so nothing can be chosen for it; add some.")
    return sorted(evenly(having, named) + evenly([row for row, name in enumerate(names) if not name], others))


def unsteered_samples(prompts: "pl.DataFrame", seeds: Sequence[int]) -> list[ErasureSample]:
    """Every prompt with every seed; `seeds` are added to the prompt's own, so 0 is that one."""
    return [
        ErasureSample(
            target=None,
            method=UNSTEERED,
            strength=0.0,
            prompt_id=row["id"],
            prompt=row["prompt"],
            seed=row["seed"] + seed,
            path=f"{UNSTEERED}/{row['id']}-{seed}.png",
        )
        for row in prompts.select("id", "prompt", "seed").iter_rows(named=True)
        for seed in seeds
    ]


def steered_samples(
    unsteered: Sequence[ErasureSample], target: str, method: str, strength: float, acts: Mapping[str, bool] | None
) -> list[ErasureSample]:
    """The same prompts and seeds under an edit. Where `acts` says, by the unsteered picture's path, that the edit does
    not act, the picture is the unsteered one."""
    folder = f"{target.replace(' + ', '+').replace(':', '-')}/{method}"
    return [
        replace(
            one, target=target, method=method, strength=strength,
            path=one.path if acts is not None and not acts[one.path] else f"{folder}/{one.path.partition('/')[2]}",
        )
        for one in unsteered
    ]  # fmt: skip
