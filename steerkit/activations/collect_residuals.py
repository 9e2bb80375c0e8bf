"""Collect the residual stream of texts, after every block of a language model, into a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steerkit.activations.manifest import shard_key, shard_name
from steerkit.activations.residuals import residuals
from steerkit.activations.rows import TOKEN_TYPES, Rows, dtype_name
from steerkit.activations.store_writer import StoreWriter
from steerkit.activations.text import Engine
from steerkit.models.language.encode import Padding, Role, encode_texts, last_tokens
from steerkit.models.language.load import LanguageModel


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
