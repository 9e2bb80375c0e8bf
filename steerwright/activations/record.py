"""Record what modules compute, through plain PyTorch hooks that are gone when the block ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from steerwright.errors import UserError
from steerwright.models.families import Step, in_denoiser
from steerwright.models.hookpoints import Hookpoint, TokenCounts, cut_input, cut_output, resolve
from steerwright.models.running import Branch, PipelineState, track


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """One tensor that one forward of a module took or gave, and when.

    `tensor` keeps the module's own shape and dtype (first dimension: batch), but holds only the tokens of the
    hookpoint's stream; a copy, unless copies were declined. `step` is None outside the denoiser. `token_ids`
    [n, tokens] are the text encoder's, of text tokens in a transformer those of the text encoder that ran last; else
    None. `branches` says which rows belong to which branch.
    """

    hookpoint: Hookpoint
    tensor: Tensor
    step: Step | None
    branches: tuple[tuple[Branch, slice], ...]
    token_ids: Tensor | None


class Recording:
    """Captures by hookpoint, in the order in which the forwards ran."""

    def __init__(self) -> None:
        self._captures: defaultdict[Hookpoint, list[Capture]] = defaultdict(list)

    def __getitem__(self, hookpoint: Hookpoint) -> list[Tensor]:
        """One tensor per forward of the module; empty when it did not run."""
        return [capture.tensor for capture in self.captures(hookpoint)]

    def captures(self, hookpoint: Hookpoint) -> list[Capture]:
        return self._captures.get(hookpoint, [])

    def keep(self, capture: Capture) -> None:
        self._captures[capture.hookpoint].append(capture)


@contextmanager
def record(pipeline: Any, hookpoints: Iterable[Hookpoint]) -> Iterator[Recording]:
    """Keep every tensor at `hookpoints` while the block runs; for few forwards, as all stay in memory.

    Example:
        with record(model.pipeline, [Hookpoint.parse("unet.mid_block:out")]) as recording:
            generate(model, ["a house"], [0])
    """
    recording = Recording()
    with capture(pipeline, hookpoints, recording.keep):
        yield recording


@contextmanager
def capture(
    pipeline: Any, hookpoints: Iterable[Hookpoint], sink: Callable[[Capture], None], *, copy: bool = True
) -> Iterator[PipelineState]:
    """Hand every tensor at `hookpoints` to `sink` while the block runs, keeping none; for high volume.

    A sink that is done with a tensor when it returns, such as running sums, does without `copy`. Hooks
    installed earlier, such as those of a steering edit, have acted on what is captured. UserError when a hookpoint does
    not exist, before anything runs.
    """
    modules = [(hookpoint, resolve(pipeline, hookpoint)) for hookpoint in dict.fromkeys(hookpoints)]
    with ExitStack() as stack:
        running = stack.enter_context(track(pipeline))
        for hookpoint, module in modules:
            stack.callback(_install(module, hookpoint, running, sink, copy))
        yield running


def _install(
    module: nn.Module, hookpoint: Hookpoint, running: PipelineState, sink: Callable[[Capture], None], copy: bool
) -> Callable[[], None]:
    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sink(_capture(hookpoint, running, cut_input(hookpoint, args, kwargs, running), copy))

    def after(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        tensor = cut_output(hookpoint, output, running)
        if hookpoint.where == "update":
            tensor = update(hookpoint, args, kwargs, tensor, running)
        sink(_capture(hookpoint, running, tensor, copy))

    if hookpoint.where == "in":
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = module.register_forward_hook(after, with_kwargs=True)
    remove: Callable[[], None] = handle.remove
    return remove


def update(
    hookpoint: Hookpoint, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor, now: TokenCounts
) -> Tensor:
    """What the module added to its input; UserError when input and output differ in shape."""
    given = cut_input(hookpoint, args, kwargs, now)
    if given.shape != output.shape:
        raise UserError(
            f"Hookpoint {hookpoint}: the module turns {list(given.shape)} into {list(output.shape)}, so there is no "
            f"update (out - in); read its `in` or its `out`."
        )
    return output - given


def _capture(hookpoint: Hookpoint, running: PipelineState, tensor: Tensor, copy: bool) -> Capture:
    # A copy, because later modules may work in place.
    held, rows = tensor.detach(), len(tensor)
    if copy:
        held = held.clone()
    root = hookpoint.path.split(".")[0]
    if in_denoiser(hookpoint):
        ids = running.token_ids if hookpoint.tokens == "text" else None
        return Capture(hookpoint, held, running.step, running.split(rows), ids)
    if root.startswith("text_encoder"):
        return Capture(hookpoint, held, None, ((running.text_branch or "none", slice(0, rows)),), running.token_ids)
    return Capture(hookpoint, held, None, (("none", slice(0, rows)),), None)
