"""Texts in a store as one row each: their last token, the mean over their tokens, or over a span of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from steerkit.activations.rows import TOKEN_TYPES
from steerkit.activations.store import Store
from steerkit.errors import UserError
from steerkit.models.hookpoint import Hookpoint
from steerkit.steering.language.token_places import span


def pooled_texts(store: Store, hookpoint: Hookpoint, ids: Sequence[str], policy: str) -> Tensor:
    """float32 [ids, d]: each text of `ids` by `policy`, as `pooled_residuals` does: last, content or span:START:STOP.

    For stores of `collect_residuals`, which hold a text's own tokens in their order, and its last token. UserError for
    another policy, a text that the store lacks or that has no token in the span, and rows that were not finite.
    """
    if policy not in ("last", "content") and span(policy) is None:
        raise UserError(f"Token policy {policy!r} does not exist; choose last, content, or span:START:STOP.")
    if any(shard.dropped.get(str(hookpoint)) for shard in store.manifest.shards):
        raise UserError(
            f"Some tokens at {hookpoint} were not finite and are not in the store; collect with dtype float32 or "
            "bfloat16."
        )
    wanted = dict.fromkeys(ids)
    found: dict[str, Tensor] = {}
    for values, batch in store.blocks(hookpoint):
        prompts = batch.column("prompt")
        names = prompts.dictionary.to_pylist()
        index = torch.from_dlpack(prompts.indices).long()
        # A text's rows follow each other.
        held, counts = torch.unique_consecutive(index, return_counts=True)
        content = torch.from_dlpack(batch.column("token_type").indices).long() == TOKEN_TYPES.index("content")
        parts = zip(held.tolist(), values.split(counts.tolist()), content.split(counts.tolist()), strict=True)
        for place, rows, own in parts:
            if (name := names[place]) in wanted:
                found[name] = _pooled(rows, own, policy, name)
    missing = [id_ for id_ in wanted if id_ not in found]
    if missing:
        raise UserError(f"The activation store {store.folder} has no text {missing[0]!r}; collect it first.")
    return torch.stack([found[id_] for id_ in ids])


def _pooled(rows: Tensor, own: Tensor, policy: str, name: str) -> Tensor:
    """One text's `rows` [tokens, d], of which `own` bool [tokens] are its own, as float32 [d]."""
    if policy == "last":
        return rows[-1].float()
    chosen = rows[own][span(policy) or slice(None)]
    if not len(chosen):
        raise UserError(f"{policy} holds no token of the text {name!r}; choose a wider span, or content.")
    return chosen.float().mean(0)
