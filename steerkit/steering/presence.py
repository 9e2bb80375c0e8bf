"""Which images hold a concept, measured at one block for the edits of others."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from steerkit.models.branches import Running
from steerkit.models.hookpoint import resolve
from steerkit.models.module_tensor import tensor_out
from steerkit.steering.edit import Edit
from steerkit.steering.gates import InImage, present


class Presence:
    """What `InImage` gates have measured in the running call."""

    def __init__(self, running: Running) -> None:
        self._running = running
        # By edit: the call and step in which it was measured, and whether each row of the batch holds the concept.
        self._held: dict[Edit, tuple[int, int, Tensor]] = {}

    def watch(self, stack: ExitStack, pipeline: Any, edits: Sequence[Edit]) -> None:
        """Measure for all of `edits` that have such a gate, until `stack` closes."""
        by_module: dict[nn.Module, list[Edit]] = {}
        for edit in edits:
            if isinstance(edit.gate, InImage):
                by_module.setdefault(resolve(pipeline, edit.gate.hookpoint), []).append(edit)
        for module, here in by_module.items():
            stack.callback(module.register_forward_hook(self._hook(here)).remove)

    def of(self, edit: Edit, rows: int) -> Tensor | None:
        """Bool [rows] of the rows that hold the concept; None where the edit does not ask.

        Before the first measurement of a call no row holds it.
        """
        if not isinstance(edit.gate, InImage):
            return None
        call, step, held = self._held.get(edit, (0, 0, None))
        now = self._running.step
        old = call != self._running.calls or now is None or now.index - step not in (0, 1)
        if held is None or old or len(held) != rows:
            return torch.zeros(rows, dtype=torch.bool, device=edit.gate.direction.unit.device)
        return held

    def _hook(self, edits: Sequence[Edit]) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
            step = self._running.step
            if step is None:
                return
            for edit in edits:
                # One step more than the edit's own: a block that runs earlier goes by the step before.
                if edit.steps is None or edit.steps[0] - 1 <= step.index <= edit.steps[1]:
                    assert isinstance(edit.gate, InImage)
                    self._held[edit] = (self._running.calls, step.index, present(edit.gate, tensor_out(output)))

        return hook
