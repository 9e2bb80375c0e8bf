"""Which half of classifier-free guidance is running, on which tokens, at which denoising step.

diffusers encodes the prompts in a first call of the text encoder and the negative prompts in a second one, and runs the
UNet on the batch [uncond, cond]; with a guidance of 1 or less there is neither a second call nor a split. With two text
encoders (Stable Diffusion XL) each is called once per half, and without a negative prompt only for the prompts: the
other half is then zeros, which no edit of a text encoder reaches. FLUX has one branch, `none`, which carries the prompt
whatever its guidance is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any, Literal

from torch import Tensor, nn

from steerwright.models.families import Family, Step, family_or_none

Branch = Literal["cond", "uncond", "none"]
_TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


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
        self._family = family_or_none(pipeline)
        self._has_branches = self._family is not None and self._family.has_branches(pipeline)
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
            assert self._family is not None, "only a denoiser sets the timestep"
            self._step = self._family.step(self._pipeline.scheduler, self._timestep)
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

    def _begin_step(self, family: Family, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._timestep, self._step = family.argument("timestep", args, kwargs), None
        self.text_tokens, self.image_tokens = family.token_counts(args, kwargs)


@contextmanager
def track(pipeline: Any) -> Iterator[PipelineState]:
    """Follow every call of `pipeline` inside the block; afterwards, also after an exception, no hook is left.

    Open it before installing hooks that ask it. Blocks may nest, each with a state of its own.
    """
    running = PipelineState(pipeline)
    with ExitStack() as stack:
        for name in _TEXT_ENCODERS:
            encoder = getattr(pipeline, name, None)
            if isinstance(encoder, nn.Module):
                _follow(stack, encoder, partial(running._begin_text, name))
        if (family := family_or_none(pipeline)) is not None:
            _follow(stack, getattr(pipeline, family.root), partial(running._begin_step, family))
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
