"""Which half of classifier-free guidance is running, on which tokens, at which denoising step.

diffusers encodes the prompts in a first call of the text encoder and the negative prompts in a second one, and runs the
UNet on the batch [uncond, cond]; with a guidance of 1 or less there is neither a second call nor a split. With two text
encoders (Stable Diffusion XL) each is called once per half, and without a negative prompt only for the prompts: the
other half is then zeros, which no edit of a text encoder reaches. FLUX has one branch, `none`, which carries the prompt
whatever its guidance is.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Literal

import torch
from torch import Tensor, nn

from steerwright.models.families import TRANSFORMER, argument, denoiser_root, has_branches, told_timesteps

Branch = Literal["cond", "uncond", "none"]
_TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


@dataclass(frozen=True, slots=True)
class Step:
    """A denoising step: its place in the schedule, the model's timestep, the noise level (infinite at zero SNR)."""

    index: int
    timestep: float
    sigma: float


def carries_prompt(branch: Branch) -> bool:
    """Whether `branch` runs on the prompt: cond does, and none (without guidance there is only the prompt)."""
    return branch != "uncond"


class PipelineState:
    """What the pipeline is doing now; `track` keeps it current.

    Each value belongs to the forward that runs or has just returned, so that hooks on the whole text encoder or
    denoiser, which fire after it has returned, still find it.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._denoiser = denoiser_root(pipeline)
        self._has_branches = has_branches(pipeline)
        self._in_call = False
        self.calls = 0
        """How many pipeline calls have begun."""
        # Branches that the text-encoder calls still to come belong to, for each encoder; empty outside encode_prompt.
        self._text_order: dict[str, list[Branch]] = {}
        self._timestep: Any = None
        self._step: Step | None = None
        self.text_branch: Branch | None = None
        """Branch of the latest text-encoder forward; none without guidance or outside a pipeline call."""
        self.token_ids: Tensor | None = None
        """Token ids of the latest text-encoder forward, [n, tokens]; None when it was given embeddings."""
        self.text_tokens: int | None = None
        """How many text tokens the latest forward of a transformer ran on; None for a UNet, which has none."""
        self.image_tokens: int | None = None
        """How many image tokens the latest forward of a transformer ran on; None for a UNet."""

    @property
    def guided(self) -> bool:
        """Whether the pipeline call now running has an unconditional branch."""
        return self._in_call and bool(getattr(self._pipeline, "do_classifier_free_guidance", False))

    @property
    def step(self) -> Step | None:
        """The denoising step of the latest denoiser forward, from its timestep and the scheduler; never counted."""
        # Found once per forward, not once per hook: on a GPU reading the timestep waits for the device.
        if self._step is None and self._timestep is not None:
            find = _flow_step if self._denoiser == TRANSFORMER else _step
            self._step = find(self._pipeline.scheduler, self._timestep)
        return self._step

    def split(self, batch: int) -> tuple[tuple[Branch, slice], ...]:
        """How the rows of a denoiser module's tensor divide by branch: (uncond, cond), or (none,) without guidance."""
        if not self.guided:
            return (("none", slice(0, batch)),)
        if batch % 2:
            raise ValueError(f"a guided UNet batch of {batch} rows does not divide into uncond and cond")
        return (("uncond", slice(0, batch // 2)), ("cond", slice(batch // 2, batch)))

    def _begin_call(self, given: dict[str, Any]) -> None:
        self._in_call = True
        self.calls += 1
        self._forget()
        order: list[Branch] = ["none"]
        if self._has_branches and given.get("do_classifier_free_guidance", True):
            order = ["cond", "uncond"]
        if "prompt_embeds" in given:
            order = order[1:]
        self._text_order = {name: list(order) for name in _TEXT_ENCODERS}

    def _end_prompts(self) -> None:
        self._text_order = {}

    def _end_call(self) -> None:
        self._in_call = False
        self._forget()

    def _forget(self) -> None:
        self.text_branch = self.token_ids = self._timestep = self._step = self.text_tokens = self.image_tokens = None

    def _begin_text(self, encoder: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        order = self._text_order.get(encoder)
        self.text_branch = order.pop(0) if order else "none"
        ids = args[0] if args else kwargs.get("input_ids")
        self.token_ids = ids if isinstance(ids, Tensor) and not ids.is_floating_point() else None

    def _begin_step(self, root: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._timestep, self._step = argument(root, "timestep", args, kwargs), None
        if root == TRANSFORMER:
            text, image = (argument(root, name, args, kwargs) for name in ("encoder_hidden_states", "hidden_states"))
            self.text_tokens = None if text is None else text.shape[1]
            self.image_tokens = None if image is None else image.shape[1]


@contextmanager
def track(pipeline: Any) -> Iterator[PipelineState]:
    """Follow every call of `pipeline` inside the block; afterwards, also after an exception, no hook is left.

    Open it before installing hooks that ask it. Blocks may nest, each with a `Running` of its own.
    """
    running = PipelineState(pipeline)
    with ExitStack() as stack:
        for name in _TEXT_ENCODERS:
            encoder = getattr(pipeline, name, None)
            if isinstance(encoder, nn.Module):
                _follow(stack, encoder, partial(running._begin_text, name))
        root = denoiser_root(pipeline)
        if root is not None:
            _follow(stack, getattr(pipeline, root), partial(running._begin_step, root))
        # The pipeline has no hook for "a call begins": encode_prompt is its first act that matters here, and
        # maybe_free_model_hooks its last. After an exception the next encode_prompt starts afresh.
        _wrap(stack, pipeline, "encode_prompt", running._begin_call, running._end_prompts)
        _wrap(stack, pipeline, "maybe_free_model_hooks", lambda _: None, running._end_call)
        yield running


def _follow(stack: ExitStack, module: nn.Module, begin: Callable[[tuple[Any, ...], dict[str, Any]], None]) -> None:
    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG001
        begin(args, kwargs)

    stack.callback(module.register_forward_pre_hook(before, with_kwargs=True, prepend=True).remove)


def _wrap(
    stack: ExitStack, pipeline: Any, name: str, before: Callable[[dict[str, Any]], None], after: Callable[[], None]
) -> None:
    """Shadow the method `name` on this instance alone; `before` gets the arguments that are not None, by name."""
    method = getattr(pipeline, name, None)
    if method is None:
        return
    signature, mine = inspect.signature(method), vars(pipeline).get(name)

    @wraps(method)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind_partial(*args, **kwargs).arguments
        before({key: value for key, value in given.items() if value is not None})
        try:
            return method(*args, **kwargs)
        finally:
            after()

    # Past __setattr__, which DiffusionPipeline uses to keep its config in step with its components.
    object.__setattr__(pipeline, name, wrapped)
    stack.callback(lambda: pipeline.__dict__.pop(name) if mine is None else object.__setattr__(pipeline, name, mine))


def _step(scheduler: Any, timestep: Any) -> Step:
    value = float(timestep.flatten()[0]) if isinstance(timestep, Tensor) else float(timestep)
    # At once: on a GPU every single number would wait for the device.
    timesteps = [float(t) for t in torch.as_tensor(scheduler.timesteps).tolist()]
    # PNDM, which visits a timestep twice, calls its place in the schedule `counter`.
    index = getattr(scheduler, "step_index", getattr(scheduler, "counter", None))
    if index is None or index >= len(timesteps) or timesteps[index] != value:
        # Schedulers without an index of their own (DDIM), and those that were not begun.
        index = min(range(len(timesteps)), key=lambda i: (abs(timesteps[i] - value), i))
    return Step(int(index), value, _sigma(scheduler, int(index), value))


def _flow_step(scheduler: Any, given: Tensor) -> Step:
    """The scheduler's own step, exact, although FLUX's transformer is told it in no more than its own precision."""
    told = told_timesteps(torch.as_tensor(scheduler.timesteps), given.flatten()[:1]).tolist()
    value = float(given.flatten()[0])
    index = scheduler.step_index
    # In bfloat16 neighbouring steps may be told alike, so the scheduler's own count goes before any search. It begins
    # to count when the first step is done.
    index = scheduler.begin_index if index is None else index
    if index is None or index >= len(told) or told[index] != value:
        index = min(range(len(told)), key=lambda i: (abs(told[i] - value), i))
    timestep = float(scheduler.timesteps[index]) if told[index] == value else 1000 * value
    return Step(int(index), timestep, float(scheduler.sigmas[index]))


def _sigma(scheduler: Any, index: int, timestep: float) -> float:
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None:
        return float(sigmas[index])
    alpha = float(scheduler.alphas_cumprod[round(timestep)])
    return math.sqrt((1 - alpha) / alpha) if alpha > 0 else math.inf
