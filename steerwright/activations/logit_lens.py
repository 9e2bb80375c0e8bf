"""What a model would say if it stopped after a layer: the logit lens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steerwright.activations.residuals import residuals
from steerwright.errors import UserError
from steerwright.models.hookpoints import tensor_in, tensor_out, with_tensor_out
from steerwright.models.language.encode import Encoded, forward_inputs
from steerwright.models.language.layers import blocks, module_at
from steerwright.models.language.load import LanguageModel


@dataclass(frozen=True, slots=True, eq=False)
class LogitLens:
    """The likeliest next tokens by each of `layers`, at every place of every text.

    `ids`: int64 [layers, n, t, top], likeliest first; `log_probs`: float32, the same shape, natural logs. On the CPU;
    on padding they mean nothing.
    """

    layers: tuple[int, ...]
    ids: Tensor
    log_probs: Tensor


def logit_lens(model: LanguageModel, encoded: Encoded, layers: Sequence[int] | None = None, top: int = 5) -> LogitLens:
    """Read each layer's residual stream with the model's own end: its last norm and its head (and what it does there).

    One forward gives the residual stream, and one for each layer runs the model with its blocks passed over, so that
    whatever the architecture puts after them is applied as it is. `layers` None: all of them. UserError for a layer
    that does not exist. Source: nostalgebraist, "interpreting GPT: the logit lens" (2020).
    """
    chosen = tuple(range(model.layers) if layers is None else layers)
    unknown = [layer for layer in chosen if not 0 <= layer < model.layers]
    if unknown:
        raise UserError(f"{model.spec.name!r} has no layer {unknown[0]}; its layers are 0 to {model.layers - 1}.")
    last = module_at(model.model, model.hookpoints[-1])
    gave: list[Any] = []
    handle = last.register_forward_hook(lambda _, __, output: gave.append(output))
    try:
        found = residuals(model, encoded)
    finally:
        handle.remove()
    ids, log_probs = [], []
    called = forward_inputs(model.model, encoded.ids, encoded.mask)
    with torch.inference_mode(), _blocks_passed_over(model, like=gave[0]):
        for layer in chosen:
            with _given(last, found[layer]):
                logits = model.model(**called).logits
            best = logits.float().log_softmax(-1).topk(top, dim=-1)
            ids.append(best.indices.cpu())
            log_probs.append(best.values.cpu())
    return LogitLens(chosen, torch.stack(ids), torch.stack(log_probs))


@contextmanager
def _given(block: nn.Module, residual: Tensor) -> Iterator[None]:
    """Inside, `block` gives `residual` whatever it computes."""

    def put(_: nn.Module, __: Any, output: Any) -> Any:
        return with_tensor_out(output, residual.to(tensor_out(output).device))

    handle = block.register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _blocks_passed_over(model: LanguageModel, like: Any) -> Iterator[None]:
    """Inside, every block hands on what it is given, wrapped as in `like`, which one of them gave."""

    def hand_on(*args: Any, **kwargs: Any) -> Any:
        return with_tensor_out(like, tensor_in(args, kwargs))

    _, modules = blocks(model.model)
    before = [vars(module).get("forward") for module in modules]
    for module in modules:
        vars(module)["forward"] = hand_on
    try:
        yield
    finally:
        for module, held in zip(modules, before, strict=True):
            if held is None:
                del vars(module)["forward"]
            else:
                vars(module)["forward"] = held
