"""The residual stream of texts after every block of a language model, all layers in one forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never, get_args

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from steerwright.activations.store.format import shard_key, shard_name
from steerwright.activations.store.reader import Store
from steerwright.activations.store.rows import TOKEN_TYPES, Rows, dtype_name
from steerwright.activations.store.writer import StoreWriter
from steerwright.activations.text_encoder import Engine
from steerwright.activations.token_policy import mean_over
from steerwright.activations.trace import _descend as descend
from steerwright.activations.trace import _import_nnsight as import_nnsight
from steerwright.activations.trace import uninstrumented_after
from steerwright.arguments import choice, whole
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint, tensor_out
from steerwright.models.language.encode import Encoded, Padding, Role, encode_texts, forward_inputs, last_tokens
from steerwright.models.language.layers import module_at
from steerwright.models.language.load import LanguageModel
from steerwright.models.language.token_places import span


def residuals(model: LanguageModel, encoded: Encoded, engine: Engine = "hooks") -> Float[Tensor, "layers n t d"]:
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


def policy_mask(encoded: Encoded, policy: str) -> Bool[Tensor, "n t"]:
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


# Collect the residual stream of texts, after every block of a language model, into a store.


@dataclass(frozen=True, slots=True)
class AnsweredText:
    """A text, and the request that it answers; None where it stands by itself."""

    text: str
    prompt: str | None = None


def collect_residuals(
    model: LanguageModel,
    texts: Mapping[str, AnsweredText],
    folder: Path,
    *,
    shards: int,
    engine: Engine = "nnsight",
    role: Role = "assistant",
    padding: Padding = "right",
    batch_size: int = 16,
    earlier: Mapping[str, Path] | None = None,
    code: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write the store `folder` of `texts` (by id) at all of the model's hookpoints; the names of the shards computed.

    Each batch is one forward. A text's own tokens are kept, under their position in its document without padding, and
    its very last token where that is the template's (type eos): what else the template and the request take up is not.
    Shards are as in `collect_text`: by a hash of the id up to its
    first colon, each from its own texts alone, taken over from `folder` or `earlier` where nothing has changed.
    """
    members: dict[str, list[str]] = {}
    for id_ in sorted(texts):
        members.setdefault(shard_name(id_, shards), []).append(id_)
    dtype = dtype_name(model.dtype)
    settings: dict[str, Any] = {
        "hookpoints": [str(hookpoint) for hookpoint in model.hookpoints],
        "engine": engine,
        "role": role,
        "padding": padding,
        "batch_size": batch_size,
        "device": model.device.type,
    }
    identity = [model.fingerprint.computation, model.fingerprint.libraries]
    computed: list[str] = []
    with StoreWriter(
        folder, model=model.fingerprint, dtype=dtype, hookpoints=model.hookpoints, provenance=settings, earlier=earlier
    ) as writer:
        for done, (name, ids) in enumerate(sorted(members.items())):
            if progress is not None:
                progress(done, len(members))
            content = [(id_, texts[id_].text, texts[id_].prompt) for id_ in ids]
            key = shard_key(identity, dtype, settings, code, content)
            if not writer.reuse(name, key):
                writer.write_shard(
                    name, key, ids, _rows(model, texts, ids, engine, role, padding, batch_size)
                )  # fmt: skip
                computed.append(name)
        if progress is not None:
            progress(len(members), len(members))
    return computed


def _rows(
    model: LanguageModel, texts: Mapping[str, AnsweredText], ids: Sequence[str], engine: Engine, role: Role,
    padding: Padding, batch_size: int,
) -> Iterator[Rows]:  # fmt: skip
    # The grid is the model's context, not the longest text: a longer text elsewhere must not change this shard.
    grid = (model.context,)
    for start in range(0, len(ids), batch_size):
        batch = ids[start : start + batch_size]
        some = [texts[id_] for id_ in batch]
        encoded = encode_texts(model, [one.text for one in some], [one.prompt for one in some], role, padding)
        last = last_tokens(encoded)
        kept = encoded.content.clone()
        kept[torch.arange(len(batch)), last] = True
        place = encoded.mask.cumsum(1) - 1
        found = residuals(model, encoded, engine)
        for rows, tokens in _same_length(kept):
            types = torch.where(encoded.content[rows, tokens], TOKEN_TYPES.index("content"), TOKEN_TYPES.index("eos"))
            names = [batch[row] for row in rows.flatten().tolist()]
            for hookpoint, layer in zip(model.hookpoints, found, strict=True):
                yield Rows(
                    hookpoint, layer[rows, tokens], names, grid=grid, token_types=types, positions=place[rows, tokens]
                )  # fmt: skip


def _same_length(kept: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Texts of which equally many tokens are kept (bool [n, t]): their rows int64 [m, 1] and the places [m, tokens]."""
    counts = kept.sum(1)
    for count in counts.unique().tolist():
        rows = (counts == count).nonzero()
        yield rows, kept[rows.flatten()].nonzero()[:, 1].reshape(len(rows), int(count))


# Pooled residual streams of texts of which some are the same.


def pooled_once(
    model: LanguageModel, texts: Sequence[AnsweredText], role: Role, policy: str, *, batch_size: int = 32
) -> Tensor:
    """As `pooled_residuals`, float32 [layers, texts, d]: each text is read once, beside others of about its length."""
    once = sorted(dict.fromkeys(texts), key=lambda one: len(one.text) + len(one.prompt or ""))
    rows = pooled_residuals(
        model, [one.text for one in once], [one.prompt for one in once], role=role, policy=policy,
        batch_size=batch_size,
    )  # fmt: skip
    place = {one: number for number, one in enumerate(once)}
    return rows[:, torch.tensor([place[one] for one in texts])].float().cpu()


# Texts in a store as one row each: their last token, the mean over their tokens, or over a span of them.


def pooled_texts(store: Store, hookpoint: Hookpoint, ids: Sequence[str], policy: str) -> Float32[Tensor, "ids d"]:
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
