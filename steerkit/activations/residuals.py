"""The residual stream of texts after every block of a language model, all layers in one forward."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, assert_never, get_args

import torch
from torch import Tensor, nn

from steerkit.activations.text import Engine
from steerkit.activations.trace import _descend as descend
from steerkit.activations.trace import _import_nnsight as import_nnsight
from steerkit.activations.trace import uninstrumented_after
from steerkit.arguments import choice, whole
from steerkit.errors import UserError
from steerkit.models.language.encode import Encoded, Role, encode_texts, last_tokens
from steerkit.models.language.forward import forward_inputs
from steerkit.models.language.layers import module_at
from steerkit.models.language.load import LanguageModel
from steerkit.models.module_tensor import tensor_out
from steerkit.steering.language.token_places import span
from steerkit.vectors.token_policy import mean_over


def residuals(model: LanguageModel, encoded: Encoded, engine: Engine = "hooks") -> Tensor:
    """What every block gives for `encoded`: [layers, n, t, d], in the model's dtype, on its device; one forward.

    Values on padding mean nothing. `hooks` sees what edits of `steer_text` make of a block, `nnsight` what the block
    itself computed; without edits both are equal. UserError for padding on the left of a model that does not pass
    over it.
    """
    choice(engine, get_args(Engine), "Engine")
    if not model.pads and not bool(encoded.mask[:, 0].all()):
        raise UserError(
            f"{type(model.model).__name__} does not pass over padding on the left; read its texts with padding: right."
        )
    inner = model.model.base_model
    called = forward_inputs(inner, encoded.ids, encoded.mask)
    with torch.inference_mode():
        match engine:
            case "hooks":
                found = _by_hooks(model, inner, called)
            case "nnsight":
                found = _by_nnsight(model, inner, called)
            case _:
                assert_never(engine)
        return torch.stack([layer.to(model.device) for layer in found])


def pooled_residuals(
    model: LanguageModel,
    texts: Sequence[str],
    prompts: Sequence[str | None] | None = None,
    *,
    role: Role = "assistant",
    policy: str = "last",
    engine: Engine = "hooks",
    batch_size: int = 32,
) -> Tensor:
    """One vector for each text and layer: float32 [layers, n, d], on the CPU.

    `policy`: `last`, the text's last token (as a request: the last before the answer); `content`, the mean over the
    text's own tokens; `span:START:STOP`, the mean over some of these, as Python slices count. `role` and `prompts` as
    for `encode_texts`. Raises UserError for another policy, and for a text in which the span holds no token.
    """
    if policy not in ("last", "content") and span(policy) is None:
        raise UserError(f"Token policy {policy!r} does not exist; choose last, content, or span:START:STOP.")
    texts = [texts] if isinstance(texts, str) else texts
    batch_size = whole(batch_size, "batch_size", 1, "a batch has at least 1 text.")
    pooled = []
    for start in range(0, len(texts), batch_size):
        rows = slice(start, start + batch_size)
        encoded = encode_texts(model, texts[rows], None if prompts is None else prompts[rows], role)
        chosen = policy_mask(encoded, policy)
        empty = (~chosen.any(1)).nonzero().flatten().tolist()
        if empty:
            text = texts[start + empty[0]]
            raise UserError(f"{policy} holds no token of the text {text[:60]!r}; choose a wider span, or content.")
        found = residuals(model, encoded, engine)
        pooled.append(torch.stack([mean_over(layer, chosen).cpu() for layer in found]))
    return torch.cat(pooled, dim=1) if pooled else torch.zeros(model.layers, 0, model.width)


def policy_mask(encoded: Encoded, policy: str) -> Tensor:
    """Bool [n, t]: the tokens that `policy` takes of each text."""
    if policy == "last":
        positions = torch.arange(encoded.mask.shape[1], device=encoded.mask.device)
        return positions == last_tokens(encoded)[:, None]
    chosen = span(policy)
    if chosen is None:
        return encoded.content
    kept = torch.zeros_like(encoded.content)
    for row, content in enumerate(encoded.content):
        kept[row, content.nonzero().flatten()[chosen]] = True
    return kept


def _by_hooks(model: LanguageModel, inner: nn.Module, called: dict[str, Any]) -> list[Tensor]:
    found: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        # A copy, because later modules may work in place.
        found.append(tensor_out(output).detach().clone())

    with ExitStack() as stack:
        for hookpoint in model.hookpoints:
            stack.callback(module_at(model.model, hookpoint).register_forward_hook(keep).remove)
        inner(**called)
    return found


def _by_nnsight(model: LanguageModel, inner: nn.Module, called: dict[str, Any]) -> list[Tensor]:
    found: list[Tensor] = []
    prefix = "" if inner is model.model else f"{model.model.base_model_prefix}."
    paths = [hookpoint.path.removeprefix(prefix) for hookpoint in model.hookpoints]
    nnsight = import_nnsight()
    with uninstrumented_after(inner):
        traced = nnsight.NNsight(inner)
        # Two blocks, not one with two parts: nnsight reads this very source.
        with traced.trace() as tracer:  # noqa: SIM117
            with tracer.invoke(**called):
                for path in paths:
                    found.append(tensor_out(descend(traced, path.split(".")).output).detach().clone())
    return found
