"""Run a pipeline no further than what is captured: no later denoising step, no later block, no decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack

from steerwright.activations.record import Capture, capture
from steerwright.models.generate import Batch, Options, run_pipeline
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import LoadedModel


class _Enough(BaseException):
    """All that was wanted has been seen. No Exception, so that nothing on its way takes it for a failure."""


def run_until(
    model: LoadedModel,
    batch: Batch,
    hookpoints: Sequence[Hookpoint],
    last_step: int,
    sink: Callable[[Capture], None],
    **options: Unpack[Options],
) -> None:
    """Make `batch`, handing what the denoiser's `hookpoints` give to `sink`; stop after the deepest one at `last_step`.

    `last_step` is the 0-based place in the scheduler's timesteps. Nothing is copied: a sink is done with a tensor when
    it returns. Hooks are gone afterwards, and the pipeline can run again at once. What the model computes until then
    is what a whole run computes.
    """
    wanted = dict.fromkeys(hookpoints)
    left: set[Hookpoint] = set()

    def watch(seen: Capture) -> None:
        sink(seen)
        if seen.step is not None and seen.step.index >= last_step:
            # Which of them is the deepest need not be known: it is the one that completes them.
            left.discard(seen.hookpoint)
            if not left:
                raise _Enough

    with capture(model.pipeline, wanted, watch, copy=False):
        left.update(wanted)
        try:
            run_pipeline(model, batch, "latent", **options)
        except _Enough:
            # What the pipeline does last: with offloading it moves the models away.
            model.pipeline.maybe_free_model_hooks()
