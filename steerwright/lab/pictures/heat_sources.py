"""Where in a picture a concept is found while it is drawn: by its vectors, by its latents, by a word of the prompt."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steerwright.activations.record import Capture, capture
from steerwright.errors import UserError
from steerwright.lab.pictures.drawing import Heat
from steerwright.models.attention_blocks import AttentionBlock
from steerwright.models.generate import model_timesteps
from steerwright.models.hookpoints import Hookpoint, as_tokens, resolve, tensor_in
from steerwright.models.load import LoadedModel
from steerwright.models.running import PipelineState, carries_prompt, track
from steerwright.models.schedule import nearest
from steerwright.sae.sae import Sae
from steerwright.steering.latents.gates import token_values
from steerwright.vectors.direction import Direction
from steerwright.vectors.steering_vectors import SteeringVectors


class _Maps:
    """Maps as they come, by denoising step; those of several places are averaged on the grid of the finest."""

    def __init__(self) -> None:
        self._found: defaultdict[int, list[Tensor]] = defaultdict(list)

    def add(self, step: int, values: Tensor) -> None:
        """`values` [tokens] of a square picture, in the order of its rows."""
        side = isqrt(len(values))
        if side * side != len(values):
            raise UserError(f"The {len(values)} tokens of a picture make no square, so they cannot be shown as a map.")
        self._found[step].append(values.detach().float().cpu().view(side, side))

    def heat(self) -> Heat:
        """float32 [steps, h, w]; steps at which nothing was seen are 0 throughout."""
        finest = max((len(one) for some in self._found.values() for one in some), default=1)
        maps = np.zeros((max(self._found, default=0) + 1, finest, finest), np.float32)
        for step, some in self._found.items():
            large = [
                one.repeat_interleave(finest // len(one), 0).repeat_interleave(finest // len(one), 1) for one in some
            ]
            maps[step] = torch.stack(large).mean(0).numpy()
        return maps


@dataclass(frozen=True, slots=True, eq=False)
class PresenceHeat:
    """How much of a concept each token holds by its vectors: 0 at the mean of prompts without it, 1 of those with it.

    What is measured is the output of the `blocks` along the step's direction. Vectors that do not record where prompts
    without the concept lie are measured from zero.
    """

    vectors: SteeringVectors
    blocks: Sequence[AttentionBlock]

    @contextmanager
    def recording(self, model: LoadedModel) -> Iterator[Callable[[], Heat]]:
        maps = _Maps()
        directions = self._directions(model_timesteps(model))

        def sink(seen: Capture) -> None:
            direction = None if seen.step is None else directions.get((seen.hookpoint, seen.step.index))
            if direction is not None and seen.step is not None:
                along = _prompts_tokens(seen) @ direction.unit.to(seen.tensor.device)
                origin = 0.0 if direction.origin is None else float(direction.origin)
                maps.add(seen.step.index, (along - origin) / float(direction.norm))

        with capture(model.pipeline, dict.fromkeys(point for point, _ in directions), sink, copy=False):
            yield maps.heat

    def _directions(self, timesteps: tuple[float, ...]) -> Mapping[tuple[Hookpoint, int], Direction]:
        known = {block.hookpoint for block in self.blocks}
        sources = nearest(self.vectors.timesteps, timesteps) if self.vectors.timesteps else (0,) * len(timesteps)
        found = {}
        for slot, direction in self.vectors.directions.items():
            if slot.hookpoint not in known or slot.branch == "uncond" or float(direction.norm) == 0:
                continue
            for step, source in enumerate(sources):
                if slot.steps is None or slot.steps[0] <= source <= slot.steps[1]:
                    found[slot.hookpoint, step] = direction
        return found


@dataclass(frozen=True, slots=True, eq=False)
class LatentHeat:
    """How active some latents of each autoencoder are on each token: their sum over `levels`, averaged over `saes`.

    `latents` int64 [n] and `levels` (what counts as 1) are by autoencoder and by denoising step; a step that is not
    there takes the nearest.
    """

    saes: Mapping[str, Sae]
    latents: Mapping[str, Mapping[int, Tensor]]
    levels: Mapping[str, Mapping[int, float]]

    @contextmanager
    def recording(self, model: LoadedModel) -> Iterator[Callable[[], Heat]]:
        maps = _Maps()
        places = {name: Hookpoint.parse(sae.site.hookpoint) for name, sae in self.saes.items() if sae.site.hookpoint}

        def sink(seen: Capture) -> None:
            if seen.step is None:
                return
            for name in (name for name, hookpoint in places.items() if hookpoint == seen.hookpoint):
                by_step = self.latents[name]
                step = min(by_step, key=lambda known: abs(known - seen.step.index if seen.step else known))
                rows = _prompts_tokens(seen)
                values = token_values(self.saes[name], rows[None].cpu(), by_step[step])[0]
                maps.add(
                    seen.step.index, values.sum(-1) / max(self.levels[name][step], torch.finfo(torch.float32).tiny)
                )

        with capture(model.pipeline, dict.fromkeys(places.values()), sink, copy=False):
            yield maps.heat


@dataclass(frozen=True, slots=True, eq=False)
class AttentionHeat:
    """How much of its attention each place of the picture gives to some tokens of the prompt, summed over these.

    Mean over the heads of all `blocks` of cross-attention, on the branch that carries the prompt.
    """

    blocks: Sequence[AttentionBlock]
    tokens: tuple[int, ...]

    @contextmanager
    def recording(self, model: LoadedModel) -> Iterator[Callable[[], Heat]]:
        maps = _Maps()
        with ExitStack() as stack:
            running = stack.enter_context(track(model.pipeline))
            for block in self.blocks:
                module = resolve(model.pipeline, block.hookpoint)
                hook = self._hook(running, maps)
                stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
            yield maps.heat

    def _hook(self, running: PipelineState, maps: _Maps) -> Callable[..., None]:
        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            context = kwargs.get("encoder_hidden_states", args[1] if len(args) > 1 else None)
            if running.step is None or context is None:
                return
            given = as_tokens(tensor_in(args, kwargs))
            rows = next(part for branch, part in running.split(len(given)) if carries_prompt(branch))
            shares = attention_shares(module, given[rows], context[rows])[0]
            maps.add(running.step.index, shares[:, list(self.tokens)].sum(-1))

        return before


def attention_shares(module: Any, given: Tensor, context: Tensor) -> Tensor:
    """What a cross-attention layer of diffusers attends to: [images, places, tokens], mean over heads; rows sum to 1"""
    heads = int(module.heads)

    def by_head(tensor: Tensor) -> Tensor:
        return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)

    scores = by_head(module.to_q(given)) @ by_head(module.to_k(context)).transpose(-1, -2)
    found: Tensor = (scores * module.scale).float().softmax(-1).mean(1)
    return found


def _prompts_tokens(seen: Capture) -> Tensor:
    """float32 [tokens, d] of the first picture, on the branch that carries the prompt."""
    rows = next(part for branch, part in seen.branches if carries_prompt(branch))
    return as_tokens(seen.tensor)[rows][0].float()
