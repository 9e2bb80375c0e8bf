"""Search for the layers and strengths of the edit: an exhaustive grid, then Optuna's TPE near the best of it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from steerwright.errors import UserError, UserErrors, problems_at
from steerwright.experiments.floors import Floors, Kept

if TYPE_CHECKING:
    import optuna
    import polars


# A configuration of the text-encoder edit, the space of them, and the grid that is tried first.


@dataclass(frozen=True, slots=True)
class Configuration:
    """Layers in ascending order, and the strength at each, in the units of the edit."""

    layers: tuple[int, ...]
    strengths: tuple[float, ...]

    def __post_init__(self) -> None:
        if list(self.layers) != sorted(set(self.layers)) or not self.layers:
            raise ValueError(f"layers {self.layers} must be ascending, each named once, and at least one")
        if len(self.strengths) != len(self.layers):
            raise ValueError(f"{len(self.strengths)} strengths for layers {self.layers}; one for each is needed")

    def __str__(self) -> str:
        return ", ".join(f"{layer}: {strength:g}" for layer, strength in zip(self.layers, self.strengths, strict=True))


class LayerStrengths(BaseModel):
    """A configuration written out in params.yaml, such as the published [0, 6, 7, 8] x [0.8, 0.5, 1, 2]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: tuple[int, ...] = Field(min_length=1)
    strengths: tuple[float, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.configuration()
        return self

    def configuration(self) -> Configuration:
        if len(self.strengths) != len(self.layers):
            raise ValueError(f"{len(self.strengths)} strengths for layers {self.layers}; one for each is needed")
        ordered = sorted(zip(self.layers, self.strengths, strict=True))
        return Configuration(tuple(layer for layer, _ in ordered), tuple(strength for _, strength in ordered))


class SearchSpace(BaseModel):
    """Which configurations to try: a grid first, then `refine_trials` near the best of it.

    The grid is `layer_sets` x `strengths` (each strength at all layers of a set), then the configurations written out
    in `extra`. Trials after it choose among the layers of the `refine_from` best grid configurations, and the strength
    at each of them between half the least and twice the greatest strength of the grid, in multiples of `strength_step`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer_sets: tuple[tuple[int, ...], ...]
    strengths: tuple[float, ...] = Field(min_length=1)
    extra: tuple[LayerStrengths, ...] = ()
    refine_trials: int = Field(ge=0)
    refine_from: int = Field(default=3, ge=1)
    strength_step: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    sampler_seed: int

    @model_validator(mode="after")
    def _can_be_tried(self) -> Self:
        written = [strength for entry in self.extra for strength in entry.strengths]
        if any(not strength > 0 for strength in [*self.strengths, *written]):
            raise ValueError("strengths must be positive; no edit at all is the control that is always made")
        if any(not layers or len(set(layers)) != len(layers) for layers in self.layer_sets):
            raise ValueError("every layer set names at least one layer, and none twice")
        if not self.layer_sets and not self.extra:
            raise ValueError("neither layer_sets nor extra names a configuration, so there is nothing to try")
        return self


def parse_space(params: Mapping[str, Any], where: str = "search.space") -> SearchSpace:
    """The space that params describe. Raises UserErrors with every problem as `key.path: message`."""
    try:
        return SearchSpace.model_validate(dict(params))
    except ValidationError as error:
        raise UserErrors("The search space in params.yaml is not valid:", problems_at(error, where)) from None


def grid(space: SearchSpace) -> list[Configuration]:
    """The configurations of the first stage, each once, in the order of the params."""
    product = (
        Configuration(tuple(sorted(layers)), (strength,) * len(layers))
        for layers in space.layer_sets
        for strength in space.strengths
    )
    return list(dict.fromkeys([*product, *(written.configuration() for written in space.extra)]))


def layer_sets(layers: list[int], sizes: list[int]) -> Iterator[tuple[int, ...]]:
    """All sets of these sizes from `layers`: [1, 2] gives every single layer, then every pair."""
    for size in sizes:
        yield from combinations(layers, size)


# The table of a search: one row per configuration, and the best of them by the declared objective.

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


Evaluate = Callable[[Configuration], Measured]


def search(
    space: SearchSpace,
    evaluate: Evaluate,
    *,
    fidelity_floor: float | None,
    prompt_floor: float | None = None,
    directional_floor: float | None = None,
    goal: float = math.inf,
    norm: Callable[[Configuration], float],
    known: Mapping[Configuration, Measured] | None = None,
    on_trial: Callable[[list[Trial]], None] | None = None,
) -> list[Trial]:
    """Evaluate the grid and then `space.refine_trials` proposals; returns one trial per configuration, in order.

    `goal` is the target that is enough: among configurations that reach it and keep all floors (`floors.Kept`) the
    shortest edit is the best.
    `evaluate` measures a configuration on the tuning set; what `known` holds is not measured again, so a search that
    was cut off resumes from its table and ends with the same trials. `on_trial` gets all trials so far after each new
    one. Deterministic: the k-th proposal depends on the sampler's seed, k and the trials before it alone. A proposal
    that was tried already counts, but is neither measured nor listed again.
    """
    known = known or {}
    floors = Floors(fidelity_floor, prompt_floor, directional_floor)
    trials: dict[Configuration, Trial] = {}

    def attempt(configuration: Configuration, stage: Any) -> Trial:
        if configuration in trials:
            return trials[configuration]
        measured = known[configuration] if configuration in known else evaluate(configuration)
        trials[configuration] = Trial(
            number=len(trials),
            stage=stage,
            configuration=configuration,
            target=measured.target,
            fidelity=measured.fidelity,
            norm=norm(configuration),
            objective=objective(measured, floors, goal),
            feasible=floors.missing(measured.kept) == 0,
            prompt_share=measured.prompt_share,
            directional=measured.directional,
        )
        if on_trial is not None:
            on_trial(list(trials.values()))
        return trials[configuration]

    for configuration in grid(space):
        attempt(configuration, "grid")
    if space.refine_trials:
        _refine(space, list(trials.values()), lambda configuration: attempt(configuration, "refine"))
    return list(trials.values())


def _refine(space: SearchSpace, tried: list[Trial], attempt: Callable[[Configuration], Trial]) -> None:
    import optuna

    previous = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        layers = _promising(tried, space.refine_from)
        choices = _distributions(layers, space)
        study = optuna.create_study(direction="maximize")
        for trial in tried:
            if set(trial.configuration.layers) <= set(layers):
                study.add_trial(_as_optuna(trial, choices))
        for number in range(space.refine_trials):
            # A sampler of its own per trial: its random numbers do not depend on how many were drawn before.
            study.sampler = optuna.samplers.TPESampler(seed=space.sampler_seed + number, n_startup_trials=1)
            asked = study.ask()
            study.tell(asked, attempt(_proposal(asked, choices, space.strength_step)).objective)
    finally:
        optuna.logging.set_verbosity(previous)


def _promising(tried: list[Trial], count: int) -> list[int]:
    """The layers of the `count` best trials."""
    left, layers = list(tried), set[int]()
    for _ in range(min(count, len(left))):
        winner = best(left)
        left.remove(winner)
        layers |= set(winner.configuration.layers)
    return sorted(layers)


def _distributions(layers: list[int], space: SearchSpace) -> dict[str, "optuna.distributions.BaseDistribution"]:
    """Whether each layer takes part, and the strength that it has if so."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    written = [strength for entry in space.extra for strength in entry.strengths]
    strengths = (*space.strengths, *written)
    strength = FloatDistribution(min(strengths) / 2, 2 * max(strengths))
    choices: dict[str, Any] = {f"use_{layer}": CategoricalDistribution([False, True]) for layer in layers}
    return choices | {f"strength_{layer}": strength for layer in layers}


def _as_optuna(trial: Trial, choices: "dict[str, optuna.distributions.BaseDistribution]") -> "optuna.trial.FrozenTrial":
    import optuna

    strengths = dict(zip(trial.configuration.layers, trial.configuration.strengths, strict=True))
    params: dict[str, Any] = {}
    for name in choices:
        kind, layer = name.split("_")
        if kind == "use":
            params[name] = int(layer) in strengths
        elif int(layer) in strengths:
            params[name] = strengths[int(layer)]
    distributions = {name: choices[name] for name in params}
    return optuna.trial.create_trial(params=params, distributions=distributions, value=trial.objective)


def _proposal(
    asked: "optuna.Trial", choices: "dict[str, optuna.distributions.BaseDistribution]", step: float
) -> Configuration:
    layers = [int(name.removeprefix("use_")) for name in choices if name.startswith("use_")]
    used = [layer for layer in layers if asked.suggest_categorical(f"use_{layer}", [False, True])]
    # A proposal without any layer would be no edit; it then means the first promising one.
    used = used or layers[:1]
    bounds: Any = {layer: choices[f"strength_{layer}"] for layer in used}
    strengths = [asked.suggest_float(f"strength_{layer}", bounds[layer].low, bounds[layer].high) for layer in used]
    # Rounded, so that the table is readable and a configuration can be typed in again.
    return Configuration(tuple(used), tuple(round(max(1, round(s / step)) * step, 6) for s in strengths))
