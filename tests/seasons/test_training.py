"""The training loop: exact resumption, schedules, shipped averages."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from seasons.training import Draws, Schedule, fit

TRUTH = torch.tensor([[1.0, -2.0, 0.5, 3.0]])


def _regression(start: int, draws: int) -> tuple[nn.Linear, Callable[[int], Tensor]]:
    """A linear model from the random start `start`, and its loss on data drawn with the seed `draws`."""
    torch.manual_seed(start)
    model = nn.Linear(4, 1)

    def loss_at(step: int) -> Tensor:
        x = Draws.at(draws, step).normal(32, 4)
        return (model(x) - x @ TRUTH.T).pow(2).mean()

    return model, loss_at


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    schedule = Schedule(60, 0.05, 5, 20)
    whole, loss_at = _regression(3, 3)
    expected = fit(whole, loss_at, schedule, tmp_path / "whole.pt", ema=0.9, save_every=20)

    class Killed(Exception):
        pass

    first, loss_at = _regression(3, 3)

    def dies_at_47(step: int) -> Tensor:
        if step == 47:
            raise Killed
        return loss_at(step)

    with pytest.raises(Killed):
        fit(first, dies_at_47, schedule, tmp_path / "cut.pt", ema=0.9, save_every=20)
    second, second_loss = _regression(99, 3)  # another start: everything must come from the checkpoint
    steps: list[int] = []

    def resumed(step: int) -> Tensor:
        steps.append(step)
        return second_loss(step)

    found = fit(second, resumed, schedule, tmp_path / "cut.pt", ema=0.9, save_every=20)
    assert steps == list(range(40, 60))
    for name, weights in expected.state_dict().items():
        assert torch.equal(weights, found.state_dict()[name])


def test_training_finds_the_planted_weights(tmp_path: Path) -> None:
    model, loss_at = _regression(5, 5)
    fit(model, loss_at, Schedule(400, 0.05, 10, 200), tmp_path / "c.pt", weight_decay=0.0)
    assert torch.allclose(model.weight, TRUTH, atol=1e-2)


def test_the_schedule_rises_holds_and_falls() -> None:
    # peak 1, four steps up, ten down of twenty: (step + 1) / 4 up to 1, then (20 - step) / 10.
    schedule = Schedule(20, 1.0, 4, 10)
    assert [schedule.at(step) for step in (0, 1, 3, 9, 10, 15, 19)] == [0.25, 0.5, 1.0, 1.0, 1.0, 0.5, 0.1]


def test_draws_depend_on_seed_and_step_alone() -> None:
    assert torch.equal(Draws.at(1, 2).normal(5), Draws.at(1, 2).normal(5))
    assert not torch.equal(Draws.at(1, 2).normal(5), Draws.at(1, 3).normal(5))
    assert not torch.equal(Draws.at(1, 2).normal(5), Draws.at(2, 2).normal(5))
