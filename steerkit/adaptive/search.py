"""Search for the layers and strengths of the edit: an exhaustive grid, then Optuna's TPE near the best of it."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from steerkit.adaptive.configuration import Configuration, SearchSpace, grid
from steerkit.adaptive.floors import Floors
from steerkit.adaptive.trials import Measured, Trial, best, objective

if TYPE_CHECKING:
    import optuna

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
