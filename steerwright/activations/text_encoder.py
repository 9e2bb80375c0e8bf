"""Activations of the text encoder for a list of prompts, and the types of their tokens."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import torch
from jaxtyping import Int64
from torch import Tensor

from steerwright.activations.record import record
from steerwright.activations.trace import trace_text
from steerwright.arguments import choice, text_list, whole
from steerwright.models.hookpoints import Hookpoint, resolve
from steerwright.models.load import LoadedModel

Engine = Literal["nnsight", "hooks"]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TextActivations:
    """Per hookpoint a CPU tensor [n, tokens, d] in the model's dtype; the prompts' token ids [n, tokens], int64."""

    activations: dict[Hookpoint, Tensor]
    token_ids: Tensor

    def __getitem__(self, hookpoint: Hookpoint) -> Tensor:
        return self.activations[hookpoint]


def text_activations(
    model: LoadedModel,
    prompts: Sequence[str],
    hookpoints: Sequence[Hookpoint],
    engine: Engine = "nnsight",
    batch_size: int = 64,
) -> TextActivations:
    """Run the text encoder on `prompts` as generation does, and keep what `hookpoints` in it compute.

    UserError when a hookpoint does not exist, also for no prompts.
    """
    for hookpoint in hookpoints:
        resolve(model.pipeline, hookpoint)
    choice(engine, get_args(Engine), "Engine")
    batch_size = whole(batch_size, "batch_size", 1, "a batch has at least 1 prompt.")
    token_ids = tokenize(model, prompts)
    batches = [_run(model, ids, hookpoints, engine) for ids in token_ids.split(batch_size) if len(ids)]
    found = {hookpoint: torch.cat([batch[hookpoint].cpu() for batch in batches]) for hookpoint in hookpoints if batches}
    return TextActivations(found, token_ids)


def tokenize(model: LoadedModel, prompts: Sequence[str]) -> Int64[Tensor, "n tokens"]:
    """Token ids int64 [n, tokens], padded and cut as the pipeline does when it generates."""
    tokenizer = model.pipeline.tokenizer
    length = tokenizer.model_max_length
    if not prompts:
        return torch.zeros(0, length, dtype=torch.int64)
    prompts = text_list(prompts, blank=True)
    full = tokenizer(prompts, truncation=False).input_ids
    for prompt, ids in zip(prompts, full, strict=True):
        if len(ids) > length:
            log.warning("%d tokens of the prompt %r exceed the model's %d and are cut off", len(ids), prompt, length)
    return tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids


def _run(
    model: LoadedModel, token_ids: Tensor, hookpoints: Sequence[Hookpoint], engine: Engine
) -> dict[Hookpoint, Tensor]:
    match engine:
        case "nnsight":
            return trace_text(model.pipeline, token_ids, hookpoints)
        case "hooks":
            with torch.inference_mode(), record(model.pipeline, hookpoints) as recording:
                model.pipeline.text_encoder(token_ids.to(model.device))
            return {hookpoint: recording[hookpoint][0] for hookpoint in hookpoints}
        case _:
            assert_never(engine)
