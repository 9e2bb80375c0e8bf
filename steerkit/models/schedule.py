"""The timesteps that a model will visit, before it runs."""

import copy
from typing import Any


def timesteps(pipeline: Any, steps: int) -> tuple[float, ...]:
    """The timestep of every UNet forward of a call with `steps` steps, in order; the scheduler itself is left alone.

    There may be more of them than `steps`: PNDM visits one twice, Heun nearly all.
    """
    scheduler = copy.deepcopy(pipeline.scheduler)
    scheduler.set_timesteps(steps)
    return tuple(float(timestep) for timestep in scheduler.timesteps)


def nearest(collected: tuple[float, ...], running: tuple[float, ...]) -> tuple[int, ...]:
    """For each timestep of a run, the index of the step of another schedule that its vectors come from.

    The same schedule maps each step to itself, also where a timestep is visited twice; where only its beginning was
    collected, the last vectors serve for the rest. Else the nearest timestep counts, the first of two that are equally
    near. So a single collected step serves for all.
    """
    if running[: len(collected)] == collected:
        return tuple(min(step, len(collected) - 1) for step in range(len(running)))
    return tuple(min(range(len(collected)), key=lambda i: (abs(collected[i] - now), i)) for now in running)
