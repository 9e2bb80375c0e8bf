"""The table of a search: one row per configuration, and the best of them by the declared objective."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from steerkit.adaptive.configuration import Configuration
from steerkit.adaptive.floors import Floors, Kept
from steerkit.errors import UserError

if TYPE_CHECKING:
    import polars

# Below every feasible trial: targets are cosine margins or rates, none of which is less than -2.
INFEASIBLE = -2.0
# Measures beside fidelity that a floor may ask for.
FURTHER = ("prompt_share", "directional")


@dataclass(frozen=True, slots=True)
class Measured:
    """What the caller measured on the tuning set: the concept's margin or rate, and how much of the rest stayed.

    `fidelity`, `prompt_share` and `directional` as `floors.Kept` says; None for what has no floor.
    """

    target: float
    fidelity: float | None
    prompt_share: float | None = None
    directional: float | None = None

    @property
    def kept(self) -> Kept:
        """The measures together."""
        return Kept(self.fidelity, self.prompt_share, self.directional)


@dataclass(frozen=True, slots=True)
class Trial:
    """A configuration with what was measured.

    `objective` is the target, up to the goal, where what was kept reaches all floors, else less than any target: -2
    minus what is missing.
    `norm` is how far the edit moves a token; among equals the shorter edit wins.
    """

    number: int
    stage: Literal["grid", "refine"]
    configuration: Configuration
    target: float
    fidelity: float | None
    norm: float
    objective: float
    feasible: bool
    prompt_share: float | None = None
    directional: float | None = None


def objective(measured: Measured, floors: Floors | float, goal: float = math.inf) -> float:
    """The single number that the search makes as large as it can.

    What exceeds `goal` counts no more than the goal, so that among configurations that reach it the shortest edit wins.
    `floors`: a number is the least fidelity.
    Raises ValueError for a target below -2 or NaN, and for a measure that has a floor but was not taken.
    """
    if not measured.target >= INFEASIBLE:
        raise ValueError(f"a target of {measured.target} cannot be compared")
    missing = (floors if isinstance(floors, Floors) else Floors(floors)).missing(measured.kept)
    return min(measured.target, goal) if missing == 0 else INFEASIBLE - missing


def best(trials: Sequence[Trial]) -> Trial:
    """The trial with the greatest objective; of equals the one with the smallest norm, then the earliest."""
    if not trials:
        raise ValueError("no trial was made, so none is the best")
    return min(trials, key=lambda trial: (-trial.objective, trial.norm, trial.number))


def trials_table(trials: Sequence[Trial]) -> "polars.DataFrame":
    """One row per trial; `layers` and `strengths` are list columns. `prompt_share` and `directional` where taken."""
    import polars

    taken = [name for name in FURTHER if any(getattr(t, name) is not None for t in trials)]

    schema: dict[str, Any] = {
        "number": polars.Int64,
        "stage": polars.String,
        "layers": polars.List(polars.Int64),
        "strengths": polars.List(polars.Float64),
        "target": polars.Float64,
        "fidelity": polars.Float64,
        "norm": polars.Float64,
        "objective": polars.Float64,
        "feasible": polars.Boolean,
        **dict.fromkeys(taken, polars.Float64),
    }
    rows = [
        (
            t.number,
            t.stage,
            list(t.configuration.layers),
            list(t.configuration.strengths),
            t.target,
            t.fidelity,
            t.norm,
            t.objective,
            t.feasible,
            *(getattr(t, name) for name in taken),
        )
        for t in trials
    ]
    return polars.DataFrame(rows, schema=schema, orient="row")


def measured_before(table: "polars.DataFrame") -> dict[Configuration, Measured]:
    """What an earlier table already measured, to resume from. Raises UserError when it lacks the columns."""
    needed = ("layers", "strengths", "target", "fidelity")
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise UserError(f"The table of trials lacks the column {missing[0]!r}, so the search cannot resume from it.")
    taken = [name for name in FURTHER if name in table.columns]
    return {
        Configuration(tuple(layers), tuple(strengths)): Measured(
            target, fidelity, **dict(zip(taken, further, strict=True))
        )
        for layers, strengths, target, fidelity, *further in table.select(*needed, *taken).iter_rows()
    }
