"""In which pictures an edit would act at all, found while they are made without it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steerwright.models.families import execution_device
from steerwright.models.hookpoints import resolve, tensor_in, tensor_out
from steerwright.models.running import PipelineState, track
from steerwright.steering.algebra import Edit, on_device
from steerwright.steering.gates import ImageGate
from steerwright.steering.presence import Presence


class GateSurvey:
    """For each name the pictures whose gates held at any step; calls of the pipeline count on, in order."""

    def __init__(self, names: Sequence[str]) -> None:
        self._parts: dict[str, list[Tensor]] = {name: [] for name in names}

    def acts(self, name: str) -> Tensor:
        """Bool [pictures]: where the edits of `name` would have acted at some step.

        Up to there the picture is the unsteered one, so where this is false the whole picture is.
        """
        return torch.cat(self._parts[name]) if self._parts[name] else torch.zeros(0, dtype=torch.bool)

    def _note(self, name: str, call: int, held: Tensor) -> None:
        parts = self._parts[name]
        if len(parts) < call:
            parts.append(held)
        else:
            parts[-1] = parts[-1] | held


def is_gated_by_image(edits: Sequence[Edit]) -> bool:
    """Whether every edit acts only in images that hold a concept, so that a survey can tell where."""
    return all(isinstance(edit.gate, ImageGate) for edit in edits)


@contextmanager
def survey(model: Any, edits: Mapping[str, Sequence[Edit]]) -> Iterator[GateSurvey]:
    """Watch the gates by image of `edits` (by name) while unsteered pictures are made inside the block.

    Raises ValueError for edits that act in all images.
    """
    pipeline = getattr(model, "pipeline", model)
    found = GateSurvey(list(edits))
    moved: dict[tuple[int, torch.device], Any] = {}
    by_module: dict[tuple[nn.Module, bool], list[tuple[str, Edit]]] = {}
    for name, some in edits.items():
        if not is_gated_by_image(some):
            raise ValueError(f"the edits of {name!r} act in every image")
        for edit in some:
            where = (resolve(pipeline, edit.hookpoint), edit.hookpoint.where == "in")
            device = execution_device(pipeline, where[0])
            by_module.setdefault(where, []).append((name, on_device(edit, device, moved)))
    with ExitStack() as stack:
        running = stack.enter_context(track(pipeline))
        presence = Presence(running)
        # First, as `steer` does it: gates are asked when the block that would be edited runs.
        presence.watch(stack, pipeline, [edit for users in by_module.values() for _, edit in users])
        for (module, before), users in by_module.items():
            note = _noting(users, running, presence, found)
            if before:
                stack.callback(module.register_forward_pre_hook(_before(note), with_kwargs=True).remove)
            else:
                stack.callback(module.register_forward_hook(_after(note)).remove)
        yield found


def _noting(
    users: Sequence[tuple[str, Edit]], running: PipelineState, presence: Presence, found: GateSurvey
) -> Callable[[Tensor], None]:
    def note(acts: Tensor) -> None:
        step = running.step
        if step is None:
            return
        halves = running.split(len(acts))
        for name, edit in users:
            if edit.steps is not None and not edit.steps[0] <= step.index <= edit.steps[1]:
                continue
            held = presence.of(edit.gate, len(acts))
            assert held is not None, "gated by image, as checked"
            rows = [held[part] for branch, part in halves if edit.sign(branch)]
            if rows:
                found._note(name, running.calls, torch.stack(rows).any(0).cpu())

    return note


def _before(note: Callable[[Tensor], None]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG001
        note(tensor_in(args, kwargs))

    return hook


def _after(note: Callable[[Tensor], None]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
        note(tensor_out(output))

    return hook
