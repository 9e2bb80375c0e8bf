from collections.abc import Sequence
from typing import Any

import pytest

from steerwright.experiments.closed_loop import Attempt, ClosedLoop, closed_loop_doses


class World:
    """Margins rise with the strength, at a pace of each prompt's own; fidelity falls from 1 by a tenth of it."""

    def __init__(self, needed: Sequence[float], cost: Sequence[float] | None = None) -> None:
        self.needed = needed
        self.cost = cost or [0.1] * len(needed)
        self.calls: list[int] = []

    def generate(self, prompts: Sequence[str], multipliers: Sequence[float], seeds: Sequence[int]) -> list[float]:
        assert len(prompts) == len(multipliers) == len(seeds)
        self.calls.append(len(prompts))
        return list(multipliers)

    def score(self, images: Any, owners: Sequence[int], seeds: Sequence[int]) -> tuple[list[float], list[float]]:
        # Seeds scatter the margin evenly around its mean.
        margins = [
            x - self.needed[owner] + (seed - 1) * 0.5 for x, owner, seed in zip(images, owners, seeds, strict=True)
        ]
        return margins, [1 - self.cost[owner] * x for x, owner in zip(images, owners, strict=True)]


def strategy(**changes: Any) -> ClosedLoop:
    settings = {
        "kind": "closed_loop",
        "target_margin": 0.0,
        "fidelity_floor": 0.5,
        "minimum": 0.0,
        "maximum": 4.0,
        "rounds": 12,
        "tolerance": 0.01,
        "search": "bisect",
    }
    return ClosedLoop.model_validate(settings | changes)


def run(
    world: World, settings: ClosedLoop, seeds: Sequence[int] = (1,)
) -> tuple[list[float], list[str], list[Attempt]]:
    prompts = [f"prompt {index}" for index in range(len(world.needed))]
    doses, attempts = closed_loop_doses(settings, prompts, [list(seeds)] * len(prompts), world.generate, world.score)
    return [dose.multiplier for dose in doses], [dose.reason for dose in doses], attempts


def test_bisection_finds_each_prompts_planted_threshold_from_above() -> None:
    needed = [0.3, 1.7, 3.9]
    found, reasons, attempts = run(World(needed), strategy())
    for multiplier, threshold in zip(found, needed, strict=True):
        assert threshold <= multiplier <= threshold + 0.01
    assert all(reason.startswith("least strength found that reaches the target margin") for reason in reasons)
    assert {attempt.prompt for attempt in attempts} == {0, 1, 2}


def test_the_mean_over_a_prompts_seeds_decides() -> None:
    (multiplier,), _, attempts = run(World([1.7]), strategy(), seeds=(0, 1, 2))
    assert 1.7 <= multiplier <= 1.71
    assert attempts[0].margin == pytest.approx(-1.7)


def test_a_prompt_that_shows_the_concept_already_costs_one_round() -> None:
    world = World([-1.0, 1.0])
    found, _, attempts = run(world, strategy(rounds=3))
    assert found[0] == 0.0
    assert [attempt.round for attempt in attempts if attempt.prompt == 0] == [0]
    assert world.calls == [2, 1, 1]


def test_the_search_ends_when_every_prompt_is_done() -> None:
    # 2 is the first midpoint of [0, 4] and meets the target exactly.
    world = World([2.0])
    assert run(world, strategy())[0] == [2.0]
    assert world.calls == [1, 1]


def test_the_fidelity_floor_wins_over_the_target() -> None:
    # Margin needs 3, but fidelity 1 - 0.5 x falls below 0.5 beyond strength 1.
    (multiplier,), (reason,), _ = run(World([3.0], [0.5]), strategy())
    assert 0.98 <= multiplier <= 1.0
    assert reason.startswith("target margin not reached above the fidelity floor")


def test_a_target_out_of_reach_gives_the_strongest_that_is_allowed() -> None:
    (multiplier,), (reason,), attempts = run(World([99.0]), strategy(rounds=4))
    assert [attempt.multiplier for attempt in attempts] == [0.0, 2.0, 3.0, 4.0]
    assert multiplier == 4.0
    assert "not reached" in reason


def test_below_the_floor_from_the_start_gives_the_least_strength() -> None:
    (multiplier,), (reason,), attempts = run(World([3.0], [0.5]), strategy(minimum=2.0))
    assert multiplier == 2.0
    assert reason.startswith("below the fidelity floor at the least strength already")
    assert len(attempts) == 1


def test_the_grid_goes_up_in_equal_steps_and_stops_at_the_first_that_reaches_the_target() -> None:
    world = World([1.2, 3.9])
    found, _, attempts = run(world, strategy(search="grid", rounds=5))
    assert found == [2.0, 4.0]
    assert [attempt.multiplier for attempt in attempts if attempt.prompt == 1] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert world.calls == [2, 2, 2, 1, 1]


def test_the_grid_stops_where_the_floor_breaks() -> None:
    world = World([3.5], [0.3])
    # Fidelity 1, 0.7, 0.4: the third is below the floor, so the second is the best allowed.
    assert run(world, strategy(search="grid", rounds=5))[0] == [1.0]
    assert world.calls == [1, 1, 1]


def test_a_prompt_without_seeds_is_refused() -> None:
    world = World([1.0])
    with pytest.raises(ValueError, match="at least one seed"):
        closed_loop_doses(strategy(), ["a"], [[]], world.generate, world.score)
