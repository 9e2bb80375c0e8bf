"""Which step's vectors serve which step of a run."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, PNDMScheduler

from steerwright.models.schedule import nearest, timesteps


def test_the_same_schedule_maps_each_step_to_itself_also_where_one_is_visited_twice() -> None:
    assert nearest((751.0, 501.0, 501.0, 251.0, 1.0), (751.0, 501.0, 501.0, 251.0, 1.0)) == (0, 1, 2, 3, 4)


def test_a_beginning_maps_each_step_to_itself_and_the_rest_to_its_last() -> None:
    assert nearest((751.0, 501.0, 501.0, 251.0), (751.0, 501.0, 501.0, 251.0, 1.0)) == (0, 1, 2, 3, 3)
    assert nearest((751.0, 501.0, 501.0), (751.0, 501.0, 501.0, 251.0, 1.0)) == (0, 1, 2, 2, 2)


def test_another_schedule_takes_the_nearest_timestep_and_of_two_the_first() -> None:
    assert nearest((900.0, 500.0, 100.0), (999.0, 701.0, 700.0, 699.0, 0.0)) == (0, 0, 0, 1, 2)
    # A longer schedule than the run's: 751 and 501 are two of its steps.
    assert nearest((999.0, 751.0, 501.0, 251.0), (751.0, 501.0)) == (1, 2)


@pytest.mark.parametrize("at", [999.0, 1.0, 333.0])
def test_a_single_step_serves_for_all(at: float) -> None:
    assert nearest((at,), (999.0, 500.0, 1.0)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (DDIMScheduler(steps_offset=1), (751, 501, 251, 1)),
        # By hand: PNDM without Runge-Kutta steps visits the second timestep twice.
        (PNDMScheduler(skip_prk_steps=True, steps_offset=1), (751, 501, 501, 251, 1)),
        (EulerAncestralDiscreteScheduler(timestep_spacing="trailing"), (999, 749, 499, 249)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_timesteps_of_a_call_are_known_before_it_and_the_scheduler_is_left_alone(
    scheduler: Any, expected: tuple[float, ...]
) -> None:
    scheduler.set_timesteps(7)
    before = scheduler.timesteps.tolist()
    assert timesteps(SimpleNamespace(scheduler=scheduler, unet=torch.nn.Identity()), 4) == expected
    assert scheduler.timesteps.tolist() == before
