"""Apply edits to a model while it runs."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steerwright.activations.prompt_tokens import TEXT_TOKEN_TYPES, prompt_token_types
from steerwright.errors import UserError
from steerwright.models.families import execution_device, family_of, in_denoiser
from steerwright.models.generate import Batch, guided
from steerwright.models.hookpoints import (
    Hookpoint,
    as_tokens,
    cut_input,
    cut_output,
    like_map,
    resolve,
    with_cut_input,
    with_cut_output,
)
from steerwright.models.load import LoadedModel
from steerwright.models.running import Branch, PipelineState, track
from steerwright.steering.algebra import Edit, edited, for_images, on_device
from steerwright.steering.gates import ImageGate

# Which images hold a concept, measured at one block for the edits of others.

Window = tuple[int, int] | None


class ImageGates:
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


@contextmanager
def steer(model: Any, edits: Sequence[Edit]) -> Iterator[None]:
    """Run the model inside the block with `edits`; outside, also after an exception, it is as it was.

    `model` is a LoadedModel or a diffusers pipeline. Edits at one hookpoint compose in the order given: the second
    sees what the first made. Edits whose strength is zero install nothing, so the results are bit-identical to those
    of the model alone. Blocks nest; the outer block's edits come first. Raises UserError for an edit that does not
    fit the model.
    """
    pipeline = getattr(model, "pipeline", model)
    modules = [resolve(pipeline, edit.hookpoint) for edit in edits]
    for edit in edits:
        check_tokens(edit)
        _check_steps(edit, pipeline)
    by_module: dict[nn.Module, list[Edit]] = defaultdict(list)
    moved: dict[tuple[int, torch.device], Any] = {}
    for module, edit in zip(modules, edits, strict=True):
        if not edit.idle:
            by_module[module].append(on_device(edit, execution_device(pipeline, module), moved))
    if not by_module:
        yield
        return
    with ExitStack() as stack:
        running = stack.enter_context(track(pipeline))
        image_gates = ImageGates(running)
        # First, so that gates are measured before a block is edited.
        image_gates.watch(stack, pipeline, [edit for here in by_module.values() for edit in here])
        for module, here in by_module.items():
            on_input = [edit for edit in here if edit.hookpoint.where == "in"]
            on_output = [edit for edit in here if edit.hookpoint.where != "in"]
            if on_input:
                before = _input_hook(on_input, pipeline, running, image_gates)
                stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            if on_output:
                after = _output_hook(on_output, pipeline, running, image_gates)
                stack.callback(module.register_forward_hook(after, with_kwargs=True).remove)
        yield


def steered_batches(model: Any, edits: Sequence[Edit]) -> Callable[[Batch], AbstractContextManager[None]]:
    """What `generate(..., edits=...)` takes: each batch is steered with its own images' strengths."""
    return lambda batch: steer(model, for_images(edits, batch.start, batch.stop))


def check_branches(
    model: LoadedModel, edits: Sequence[Edit], guidance: float | None = None, negatives: Sequence[str] = ("",)
) -> None:
    """Raise UserError for edits of an unconditional branch that will not run, so that they would change nothing.

    `guidance` (None: the model's own) and `negatives` (the negative prompts, "" for none) are those of the run.
    """
    there = [edit for edit in edits if edit.branch == "uncond" and not edit.idle]
    if there and not guided(model, guidance):
        scale = model.spec.guidance if guidance is None else guidance
        why = f"with guidance {scale:g} " if family_of(model.pipeline).has_branches(model.pipeline) else ""
        raise UserError(
            f"branch uncond: {model.spec.name} {why}has one branch only, the prompt's, so the edit at "
            f"{there[0].hookpoint} would change nothing; set a guidance above 1, or branch cond."
        )
    zeros = getattr(getattr(model.pipeline, "config", None), "force_zeros_for_empty_prompt", False)
    encoded = [edit for edit in there if in_text_encoder(edit.hookpoint)]
    if encoded and zeros and not all(negatives):
        raise UserError(
            f"branch uncond: without a negative prompt {model.spec.name} has zeros for its unconditional branch, which "
            "no text encoder makes, so the edit would change nothing; give a negative prompt, or set branch cond."
        )


def _input_hook(
    edits: Sequence[Edit], pipeline: Any, running: PipelineState, image_gates: ImageGates
) -> Callable[..., Any]:
    due = _schedule(edits, running)

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ARG001
        if not (now := due()):
            return None
        for edit in now:
            acts = _on_branches(edit, cut_input(edit.hookpoint, args, kwargs, running), pipeline, running, image_gates)
            args, kwargs = with_cut_input(edit.hookpoint, args, kwargs, acts, running)
        return args, kwargs

    return hook


def _output_hook(
    edits: Sequence[Edit], pipeline: Any, running: PipelineState, image_gates: ImageGates
) -> Callable[..., Any]:
    due = _schedule(edits, running)

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:  # noqa: ARG001
        if not (now := due()):
            return None
        for edit in now:
            acts = cut_output(edit.hookpoint, output, running)
            if edit.hookpoint.where == "update":
                update = acts - cut_input(edit.hookpoint, args, kwargs, running)
                # Adding the change, not input plus update: a token that is not touched keeps its bits.
                acts = acts + (_on_branches(edit, update, pipeline, running, image_gates) - update)
            else:
                acts = _on_branches(edit, acts, pipeline, running, image_gates)
            output = with_cut_output(edit.hookpoint, output, acts, running)
        return output

    return hook


def _on_branches(edit: Edit, given: Tensor, pipeline: Any, running: PipelineState, image_gates: ImageGates) -> Tensor:
    """Edit the rows of the branch that `edit` means; the others are passed on as they are."""
    halves = _halves(edit.hookpoint, given, running)
    signs = {edit.sign(branch) for branch, _ in halves}
    if signs == {0}:
        return given
    acts = as_tokens(given)
    mask = token_mask(edit, pipeline, running)
    holds = image_gates.of(edit.gate, len(acts))
    held = [image_gates.of(gate, len(acts)) for gate in edit.operator.gates]
    uncond = next((acts[rows] for branch, rows in halves if branch == "uncond"), None)
    if len(halves) == 1 or (len(signs) == 1 and not edit.per_image and not edit.operator.reads_uncond):
        return like_map(edited(edit, acts, sign=signs.pop(), mask=_both(mask, holds), held=held), given)

    def half(rows: slice, sign: int) -> Tensor:
        here = [None if found is None else found[rows] for found in (holds, *held)]
        return edited(edit, acts[rows], sign=sign, mask=_both(mask, here[0]), held=here[1:], uncond=uncond)

    edited_halves = [half(rows, sign) if (sign := edit.sign(branch)) else acts[rows] for branch, rows in halves]
    return like_map(torch.cat(edited_halves), given)


def _both(mask: Tensor | None, holds: Tensor | None) -> Tensor | None:
    """Tokens that are meant, of images that hold the concept."""
    if holds is None:
        return mask
    return holds[:, None] if mask is None else holds[:, None] & mask


def _halves(hookpoint: Hookpoint, acts: Tensor, running: PipelineState) -> Sequence[tuple[Branch, slice]]:
    if in_text_encoder(hookpoint):
        return ((running.text_branch or "none", slice(0, len(acts))),)
    if in_denoiser(hookpoint):
        return running.split(len(acts))
    return (("none", slice(0, len(acts))),)


def _schedule(edits: Sequence[Edit], running: PipelineState) -> Callable[[], Sequence[Edit]]:
    """What is due in the running forward. Vectors for every step give a module dozens of edits, of which one is due."""
    if all(edit.steps is None for edit in edits):
        return lambda: edits
    by_step: dict[int | None, list[Edit]] = {}

    def due() -> Sequence[Edit]:
        step = running.step
        index = None if step is None else step.index
        if index not in by_step:
            by_step[index] = [edit for edit in edits if _in_window(edit, index)]
        return by_step[index]

    return due


def _in_window(edit: Edit, index: int | None) -> bool:
    return edit.steps is None or (index is not None and edit.steps[0] <= index <= edit.steps[1])


def _check_steps(edit: Edit, pipeline: Any) -> None:
    if edit.steps is not None and not in_denoiser(edit.hookpoint):
        raise UserError(
            f"The edit at {edit.hookpoint} is for denoising steps {edit.steps[0]} to {edit.steps[1]}, but only the "
            f"{family_of(pipeline).noun} runs once per step; leave the steps out."
        )


# Which tokens of the running forward an edit means.


def token_mask(edit: Edit, pipeline: Any, running: PipelineState) -> Tensor | None:
    """Bool mask [tokens] or [images, tokens] of the tokens that `edit` means in the running forward; None for all."""
    if isinstance(edit.tokens, Tensor):
        return edit.tokens
    if edit.tokens == "all":
        return None
    if running.token_ids is None:
        raise UserError(
            f"The edit at {edit.hookpoint} is for {edit.tokens} tokens, but the text encoder was given embeddings "
            'instead of token ids. Pass prompts as text, or steer "all" tokens.'
        )
    return prompt_token_types(_tokenizer(pipeline, edit.hookpoint), running.token_ids)[edit.tokens]


def check_tokens(edit: Edit) -> None:
    """Raise UserError unless the token type of `edit` exists at its hookpoint."""
    if isinstance(edit.tokens, Tensor) or edit.tokens == "all":
        return
    if edit.tokens not in TEXT_TOKEN_TYPES:
        raise UserError(
            f"Tokens {edit.tokens!r} of the edit at {edit.hookpoint} do not exist; "
            f"choose all, {', '.join(TEXT_TOKEN_TYPES)}, or give a mask."
        )
    if not in_text_encoder(edit.hookpoint):
        raise UserError(
            f"The edit at {edit.hookpoint} is for {edit.tokens} tokens, which only the text encoder has; "
            "use all tokens there, or a mask."
        )


def in_text_encoder(hookpoint: Hookpoint) -> bool:
    return hookpoint.path.split(".")[0].startswith("text_encoder")


def _tokenizer(pipeline: Any, hookpoint: Hookpoint) -> Any:
    root = hookpoint.path.split(".")[0]
    return getattr(pipeline, root.replace("text_encoder", "tokenizer"))
