"""Which images hold a concept, measured at one block for the edits of others."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from steerwright.models.hookpoints import Hookpoint, as_tokens, cut_output, resolve
from steerwright.models.running import PipelineState
from steerwright.steering.algebra import Edit
from steerwright.steering.gates import ImageGate

Window = tuple[int, int] | None


class Presence:
    """What gates by image have measured in the running call; edits that share a gate share its measurement."""

    def __init__(self, running: PipelineState) -> None:
        self._running = running
        # By gate: the call and step in which it was measured, and whether each row of the batch holds the concept.
        self._held: dict[ImageGate, tuple[int, int, Tensor]] = {}

    def watch(self, stack: ExitStack, pipeline: Any, edits: Sequence[Edit]) -> None:
        """Measure for all of `edits` that have such gates, until `stack` closes."""
        by_module: dict[nn.Module, dict[ImageGate, set[Window]]] = {}
        for edit in edits:
            for gate in image_gates(edit):
                here = by_module.setdefault(resolve(pipeline, gate.hookpoint), {})
                here.setdefault(gate, set()).add(edit.steps)
        for module, gates in by_module.items():
            stack.callback(module.register_forward_hook(self._hook(gates)).remove)

    def of(self, gate: object, rows: int) -> Tensor | None:
        """Bool [rows] of the rows that hold the concept; None where `gate` does not ask for that.

        Before the first measurement of a call no row holds it.
        """
        if not isinstance(gate, ImageGate):
            return None
        call, step, held = self._held.get(gate, (0, 0, None))
        now = self._running.step
        if held is None or call != self._running.calls or now is None or len(held) != rows:
            return torch.zeros(rows, dtype=torch.bool, device=gate.device)
        if now.index - step not in (0, 1) and (gate.held_from is None or now.index < step):
            return torch.zeros(rows, dtype=torch.bool, device=gate.device)
        return held

    def _hook(self, gates: dict[ImageGate, set[Window]]) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
            step = self._running.step
            if step is None:
                return
            # Text and image tokens of one module are seen apart, so they share nothing.
            shared: dict[Hookpoint, dict[int, Tensor]] = {}
            for gate, windows in gates.items():
                if _is_due(gate, windows, step.index):
                    acts = as_tokens(cut_output(gate.hookpoint, output, self._running))
                    found = gate.present(acts, shared.setdefault(gate.hookpoint, {}))
                    self._held[gate] = (self._running.calls, step.index, found)

        return hook


def image_gates(edit: Edit) -> Iterator[ImageGate]:
    """The gates by image of an edit, and of the parts of its operator."""
    for gate in (edit.gate, *edit.operator.gates):
        if isinstance(gate, ImageGate):
            yield gate


def _is_due(gate: ImageGate, windows: set[Window], step: int) -> bool:
    """Whether edits with these windows of steps ask for what `gate` finds at `step`."""
    if gate.held_from is not None:
        return step == gate.held_from
    # One step more than the edit's own: a block that runs earlier goes by the step before.
    return any(window is None or window[0] - 1 <= step <= window[1] for window in windows)
