"""Dose by measurement: for each prompt the least strength whose images show the concept and keep the rest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from steerwright.experiments.dose import Dose
from steerwright.experiments.floors import Floors, Kept

Images = Any
Generate = Callable[[Sequence[str], Sequence[float], Sequence[int]], Images]
"""(prompts, multipliers, seeds), all of one length -> their images, in the same order."""
Score = Callable[[Images, Sequence[int], Sequence[int]], Sequence[Sequence[float]]]
"""(images, index of each one's prompt, its seed) -> concept margins, then what was kept, by each measure that has a
floor, in the order of `Floors.asked` (fidelities, where there is only that floor); one of each per image."""


class ClosedLoop(BaseModel):
    """Search for each prompt's multiplier in [minimum, maximum], `rounds` images per seed at most.

    Wanted is the least multiplier at which the concept's margin reaches `target_margin` while what is kept is at least
    `fidelity_floor`, `prompt_floor` and `directional_floor` (null: does not count; see `floors.Kept`). `bisect` halves
    the interval each round; `grid` goes up in `rounds` equal steps. A prompt stops early when its margin exceeds the
    target by no more than `tolerance`, or when nothing is left to try.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["closed_loop"]
    target_margin: float = Field(allow_inf_nan=False)
    fidelity_floor: float | None = Field(allow_inf_nan=False)
    prompt_floor: float | None = Field(default=None, allow_inf_nan=False)
    directional_floor: float | None = Field(default=None, allow_inf_nan=False)
    minimum: float = Field(ge=0, allow_inf_nan=False)
    maximum: float = Field(gt=0, allow_inf_nan=False)
    rounds: int = Field(ge=2)
    tolerance: float = Field(ge=0, allow_inf_nan=False)
    search: Literal["bisect", "grid"]

    @model_validator(mode="after")
    def _interval(self) -> Self:
        if not self.minimum < self.maximum:
            raise ValueError(f"minimum {self.minimum} < maximum {self.maximum} must hold")
        Floors(self.fidelity_floor, self.prompt_floor, self.directional_floor)  # refuses a loop without any
        return self

    @property
    def floors(self) -> Floors:
        """What an attempt must keep."""
        return Floors(self.fidelity_floor, self.prompt_floor, self.directional_floor)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One round of one prompt: the multiplier tried, and the means over the prompt's seeds of what it gave."""

    prompt: int
    round: int
    multiplier: float
    margin: float
    kept: Kept


def closed_loop_doses(
    strategy: ClosedLoop,
    prompts: Sequence[str],
    seeds: Sequence[Sequence[int]],
    generate: Generate,
    score: Score,
) -> tuple[list[Dose], list[Attempt]]:
    """The dose of each prompt and every attempt made, in order. `seeds` lists each prompt's seeds.

    All prompts that still search share one call of `generate` per round. The first round tries `minimum`: a prompt
    that shows the concept there is done. What is kept is taken to fall, and the margin to rise, with the multiplier;
    where they do not, the choice is still the best of what was tried.
    """
    if len(prompts) != len(seeds) or not all(seeds):
        raise ValueError("the closed loop needs at least one seed for every prompt")
    asked = strategy.floors.asked
    searches = [_Search(strategy, index) for index in range(len(prompts))]
    for number in range(strategy.rounds):
        active = [(search, value) for search in searches if (value := search.next_multiplier()) is not None]
        if not active:
            break
        owners = [search.prompt for search, _ in active for _ in seeds[search.prompt]]
        values = [value for search, value in active for _ in seeds[search.prompt]]
        drawn = [seed for search, _ in active for seed in seeds[search.prompt]]
        images = generate([prompts[owner] for owner in owners], values, drawn)
        margins, *kept = score(images, owners, drawn)
        first = 0
        for search, value in active:
            last = first + len(seeds[search.prompt])
            search.learn(
                Attempt(
                    search.prompt,
                    number,
                    value,
                    _mean(margins[first:last]),
                    Kept(**{name: _mean(one[first:last]) for name, one in zip(asked, kept, strict=True)}),
                )
            )
            first = last
    attempts = sorted((a for search in searches for a in search.attempts), key=lambda a: (a.round, a.prompt))
    return [search.dose() for search in searches], attempts


class _Search:
    """One prompt's search: the interval that still holds the answer, and what was tried."""

    def __init__(self, strategy: ClosedLoop, prompt: int) -> None:
        self.strategy = strategy
        self.prompt = prompt
        self.attempts: list[Attempt] = []
        self._weak, self._enough = strategy.minimum, strategy.maximum
        self._done = False

    def next_multiplier(self) -> float | None:
        made, settings = len(self.attempts), self.strategy
        if self._done:
            return None
        if made == 0:
            return settings.minimum
        if settings.search == "grid":
            share = made / (settings.rounds - 1)
            return settings.minimum + share * (settings.maximum - settings.minimum)
        # The last round of a prompt for which nothing was enough tries the end of the interval itself.
        if made == settings.rounds - 1 and self._enough == settings.maximum:
            return settings.maximum
        return (self._weak + self._enough) / 2

    def learn(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        excess = attempt.margin - self.strategy.target_margin
        kept = self._keeps(attempt)
        if kept and excess < 0:
            self._weak = attempt.multiplier
        else:
            self._enough = attempt.multiplier
            going_up = self.strategy.search == "grid" or attempt.multiplier == self.strategy.minimum
            self._done = going_up or (kept and excess <= self.strategy.tolerance)

    def _keeps(self, attempt: Attempt) -> bool:
        return self.strategy.floors.missing(attempt.kept) == 0

    def dose(self) -> Dose:
        settings = self.strategy
        kept = [a for a in self.attempts if self._keeps(a)]
        reached = [a for a in kept if a.margin >= settings.target_margin]
        if reached:
            best = min(reached, key=lambda a: a.multiplier)
            return Dose(best.multiplier, f"least strength found that reaches the target margin ({_values(best)})")
        if kept:
            best = max(kept, key=lambda a: (a.margin, -a.multiplier))
            return Dose(
                best.multiplier, f"target margin not reached above the fidelity floor; best of it ({_values(best)})"
            )
        least = min(self.attempts, key=lambda a: a.multiplier)
        return Dose(least.multiplier, f"below the fidelity floor at the least strength already ({_values(least)})")


def _mean(values: Sequence[float]) -> float:
    return sum(float(value) for value in values) / len(values)


def _values(attempt: Attempt) -> str:
    return f"margin {attempt.margin:.3f}, {attempt.kept}"
