"""One picture, drawn step by step: its progress is told, it can be stopped, and heat is recorded on the way."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from steerwright.lab.jobs import Job
from steerwright.models.families import denoiser
from steerwright.models.generate import Batch, generate, model_timesteps
from steerwright.models.load import LoadedModel
from steerwright.models.running import track
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import steer

Heat = NDArray[np.float32]


class HeatSource(Protocol):
    """What to look for in a picture while it is drawn: a concept, a latent, a word of the prompt."""

    def recording(self, model: LoadedModel) -> AbstractContextManager[Callable[[], Heat]]:
        """Watch `model` inside the block; what it gives is asked after the drawing: float32 [steps, h, w]."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A picture, uint8 [height, width, 3], and where in it what was looked for was found, [steps, h, w] or None."""

    pixels: NDArray[np.uint8]
    heat: Heat | None = None


def draw_picture(
    model: LoadedModel,
    prompt: str,
    seed: int,
    edits: Sequence[Edit] = (),
    *,
    heat: HeatSource | None = None,
    job: Job | None = None,
    span: tuple[float, float] = (0.0, 1.0),
    what: str = "Drawing",
) -> Drawn:
    """The picture of `prompt` from `seed` with `edits`; without any that act, the very picture of `generate`.

    Each denoising step is a step of `job`, from the share `span[0]` to `span[1]`, told as `what`. Heat is seen after
    the edits have acted. Raises Cancelled when the job is stopped, after which the model can be used at once; UserError
    for edits that do not fit the model and for pictures that are not finite.
    """
    job = job or Job()
    found: list[Callable[[], Heat]] = []

    @contextmanager
    def around(batch: Batch) -> Iterator[None]:  # noqa: ARG001
        with ExitStack() as stack:
            stack.enter_context(steer(model, edits))
            if heat is not None:
                found.append(stack.enter_context(heat.recording(model)))
            stack.enter_context(_each_step(model, job, span, what))
            yield

    pixels = generate(model, [prompt], [seed], edits=around)[0]
    return Drawn(pixels, found[0]() if found else None)


@contextmanager
def _each_step(model: LoadedModel, job: Job, span: tuple[float, float], what: str) -> Iterator[None]:
    total = len(model_timesteps(model))
    with track(model.pipeline) as running:

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG001
            index = 0 if running.step is None else running.step.index
            share = span[0] + (span[1] - span[0]) * index / total
            job.step(share, f"{what}: step {index + 1} of {total}")

        handle = denoiser(model.pipeline).register_forward_pre_hook(before, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()
