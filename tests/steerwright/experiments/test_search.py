from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import optuna
import pytest
from pydantic import ValidationError

from steerwright.errors import UserError
from steerwright.experiments.search import (
    Configuration,
    Measured,
    SearchSpace,
    Trial,
    best,
    grid,
    layer_sets,
    measured_before,
    objective,
    parse_space,
    search,
    trials_table,
)

SEED_GRID: dict[str, Any] = {
    "layer_sets": [[0], [6], [7], [8], [0, 6], [7, 6], [0, 6, 7, 8]],
    "strengths": [0.5, 1.0, 2.0],
    "extra": [{"layers": [0, 6, 7, 8], "strengths": [0.8, 0.5, 1.0, 2.0]}],
    "refine_trials": 25,
    "sampler_seed": 17,
}


def space(**changes: Any) -> SearchSpace:
    return SearchSpace.model_validate(SEED_GRID | changes)


class Planted:
    """Best at layers 6 and 7 with strengths 1.3 and 1.9, which the grid does not hold."""

    def __init__(self) -> None:
        self.asked: list[Configuration] = []

    def __call__(self, configuration: Configuration) -> Measured:
        self.asked.append(configuration)
        at = dict(zip(configuration.layers, configuration.strengths, strict=True))
        miss = abs(at.get(6, 0) - 1.3) + abs(at.get(7, 0) - 1.9) + at.get(0, 0) + at.get(8, 0)
        return Measured(target=1 - 0.2 * miss, fidelity=1.0)


def norm(configuration: Configuration) -> float:
    return sum(strength**2 for strength in configuration.strengths) ** 0.5


def run(evaluate: Any, settings: SearchSpace, **how: Any) -> list[Trial]:
    return search(settings, evaluate, fidelity_floor=0.5, norm=norm, **how)


def test_the_grid_holds_every_set_at_every_strength_and_what_is_written_out_once_each() -> None:
    found = grid(space())
    assert len(found) == len(set(found)) == 7 * 3 + 1
    assert Configuration((6, 7), (2.0, 2.0)) in found
    assert Configuration((0, 6, 7, 8), (0.8, 0.5, 1.0, 2.0)) in found
    doubled = space(extra=[{"layers": [6, 0], "strengths": [1.0, 1.0]}])
    assert len(grid(doubled)) == 21


def test_layer_sets_of_sizes_are_singles_and_pairs() -> None:
    assert list(layer_sets([0, 6, 7], [1, 2])) == [(0,), (6,), (7,), (0, 6), (0, 7), (6, 7)]


def test_refining_finds_a_planted_optimum_that_the_grid_does_not_hold() -> None:
    planted = Planted()
    trials = run(planted, space())
    of_grid = best([trial for trial in trials if trial.stage == "grid"])
    winner = best(trials)
    assert of_grid.configuration == Configuration((6, 7), (2.0, 2.0))
    assert winner.stage == "refine"
    assert winner.configuration.layers == (6, 7)
    assert winner.target > of_grid.target + 0.05
    assert len(planted.asked) == len(set(planted.asked)) == len(trials)
    assert [trial.number for trial in trials] == list(range(len(trials)))


def test_the_same_seed_makes_the_same_trials_and_another_seed_others() -> None:
    first, second, other = (run(Planted(), space(sampler_seed=seed)) for seed in (17, 17, 99))
    assert first == second
    assert first != other


@pytest.mark.parametrize("cut", [3, 22, 30])
def test_a_search_that_was_cut_off_resumes_from_its_table_and_ends_the_same(cut: int, tmp_path: Any) -> None:
    import polars

    whole = run(Planted(), space())
    trials_table(whole[:cut]).write_parquet(tmp_path / "trials.parquet")
    again = Planted()
    resumed = run(again, space(), known=measured_before(polars.read_parquet(tmp_path / "trials.parquet")))
    assert resumed == whole
    assert again.asked == [trial.configuration for trial in whole[cut:]]


def test_every_new_trial_is_handed_over_at_once() -> None:
    lengths: list[int] = []
    trials = run(Planted(), space(refine_trials=4), on_trial=lambda so_far: lengths.append(len(so_far)))
    assert lengths == list(range(1, len(trials) + 1))


def trial(number: int, target: float, fidelity: float, norm: float) -> Trial:
    value = objective(Measured(target, fidelity), 0.5)
    return Trial(number, "grid", Configuration((number,), (1.0,)), target, fidelity, norm, value, fidelity >= 0.5)


def test_the_best_is_the_greatest_target_above_the_floor_then_the_shorter_edit() -> None:
    trials = [trial(0, 0.9, 0.49, 1), trial(1, 0.3, 0.9, 4), trial(2, 0.3, 0.6, 2), trial(3, 0.3, 0.5, 2)]
    assert best(trials).number == 2
    # With none above the floor: the one that misses it by least.
    assert best([trial(0, 0.9, 0.1, 1), trial(1, -1.0, 0.3, 9)]).number == 1
    with pytest.raises(ValueError, match="no trial"):
        best([])


def test_below_the_floor_is_worse_than_any_margin_above_it() -> None:
    values: Sequence[float] = [
        objective(Measured(target, fidelity), 0.5) for target, fidelity in [(1, 0.1), (1, 0.4), (-2, 0.5), (0.1, 0.9)]
    ]
    assert all(left < right for left, right in pairwise(values))
    with pytest.raises(ValueError, match="cannot be compared"):
        objective(Measured(float("nan"), 1.0), 0.5)


def test_the_table_has_one_row_per_trial_and_lacking_columns_are_named() -> None:
    trials = run(Planted(), space(refine_trials=0))
    table = trials_table(trials)
    assert table.height == 22
    assert table.row(21, named=True)["strengths"] == [0.8, 0.5, 1.0, 2.0]
    with pytest.raises(UserError, match="lacks the column 'fidelity'"):
        measured_before(table.drop("fidelity"))


def test_optunas_verbosity_is_as_it_was() -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    run(Planted(), space(refine_trials=1))
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strengths": [0.0]}, "strengths must be positive"),
        ({"layer_sets": [[1, 1]]}, "none twice"),
        ({"layer_sets": [], "extra": []}, "nothing to try"),
        ({"extra": [{"layers": [0, 1], "strengths": [1.0]}]}, "1 strengths for layers"),
        ({"trials": 3}, "Extra inputs"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        space(**changes)


def test_every_mistake_in_the_spaces_params_is_named_by_its_key() -> None:
    with pytest.raises(UserError, match=r"search\.space\.refine_trials: .*\n.*search\.space\.strenghts: Extra inputs"):
        parse_space({**SEED_GRID, "refine_trials": -1, "strenghts": [1.0]})
    assert parse_space(SEED_GRID) == space()


def test_among_configurations_that_reach_the_goal_the_shortest_is_the_best() -> None:
    # Target = total strength / 4, so 0.5 is reached by any total of 2: of those [0, 6] x 1 (norm 1.41) is shorter
    # than [0] x 2 (norm 2), and [0] x 1 does not reach it.
    table = {"layer_sets": [[0], [0, 6]], "strengths": [1.0, 2.0], "extra": [], "refine_trials": 0}

    def evaluate(configuration: Configuration) -> Measured:
        return Measured(target=sum(configuration.strengths) / 4, fidelity=1.0)

    trials = search(space(**table), evaluate, fidelity_floor=0.5, goal=0.5, norm=norm)
    assert best(trials).configuration == Configuration((0, 6), (1.0, 1.0))
    without = search(space(**table), evaluate, fidelity_floor=0.5, norm=norm)
    assert best(without).configuration == Configuration((0, 6), (2.0, 2.0))
