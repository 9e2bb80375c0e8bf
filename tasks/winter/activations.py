"""What the model computes on both sides of the contrast pairs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from steerwright.activations.prompt_tokens import token_types
from steerwright.activations.store.format import shard_key, shard_name
from steerwright.activations.store.rows import TOKEN_TYPES, Rows, dtype_name
from steerwright.activations.store.writer import StoreWriter
from steerwright.activations.text_encoder import Engine, text_activations
from steerwright.dag import Dep, Out, Param, code_digest, previous_output, progress
from steerwright.models.hookpoints import Hookpoint, resolve, text_encoder_mlps
from steerwright.models.load import LoadedModel, load_model
from steerwright.models.select import read_model


def collect_activations(
    model: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    engine: Annotated[Engine, Param()],
    shards: Annotated[int, Param()],
    activations: Annotated[Path, Out("activations", resume=True)],
) -> None:
    """Record the output of every text-encoder MLP for the positive and negative prompts."""
    spec, identity = read_model(model)
    loaded = load_model(spec, identity.digest)
    prompts = {}
    for pair in json.loads(pairs.read_text()):
        # Both sides of a pair share a shard, since the shard is chosen by a hash of the id up to the colon.
        prompts[f"{pair['id']}:positive"] = pair["positive"]
        prompts[f"{pair['id']}:negative"] = pair["negative"]
    collect_text(
        loaded,
        prompts,
        text_encoder_mlps(loaded.pipeline),
        activations,
        shards=shards,
        engine=engine,
        earlier=previous_output("activations"),
        code=code_digest(),
        progress=lambda done, total: progress(done, total, "shards"),
    )


# Collect the text encoder's activations of many prompts into a store, doing only the shards that changed.


def collect_text(
    model: LoadedModel,
    prompts: Mapping[str, str],
    hookpoints: Sequence[Hookpoint],
    folder: Path,
    *,
    shards: int,
    engine: Engine = "nnsight",
    batch_size: int = 16,
    earlier: Mapping[str, Path] | None = None,
    code: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write the store `folder` of `prompts` (text by id) at `hookpoints`; the names of the shards that were computed.

    A prompt goes to one of `shards` shards by a hash of its id. A shard is taken from `folder` itself (an attempt that
    was killed) or from `earlier` (file name -> file of an earlier version) when nothing it depends on has changed, of
    which `code` is a part. It is computed from its own prompts alone, so its bytes do not depend on the others.
    """
    for hookpoint in hookpoints:
        resolve(model.pipeline, hookpoint)
    members: dict[str, list[str]] = {}
    for prompt in sorted(prompts):
        members.setdefault(shard_name(prompt, shards), []).append(prompt)
    dtype = dtype_name(model.dtype)
    settings = {
        "hookpoints": [str(hookpoint) for hookpoint in hookpoints],
        "engine": engine,
        "batch_size": batch_size,
        "device": model.device.type,
    }
    # With the libraries' versions: the same weights give other bits under another release.
    identity = [model.fingerprint.computation, model.fingerprint.libraries]
    computed: list[str] = []
    with StoreWriter(
        folder, model=model.fingerprint, dtype=dtype, hookpoints=hookpoints, provenance=settings, earlier=earlier
    ) as writer:
        for done, (name, ids) in enumerate(sorted(members.items())):
            if progress is not None:
                progress(done, len(members))
            key = shard_key(identity, dtype, settings, code, [(id_, prompts[id_]) for id_ in ids])
            if not writer.reuse(name, key):
                texts = {id_: prompts[id_] for id_ in ids}
                writer.write_shard(name, key, ids, _rows(model, texts, hookpoints, engine, batch_size))
                computed.append(name)
        if progress is not None:
            progress(len(members), len(members))
    return computed


def _rows(
    model: LoadedModel, prompts: Mapping[str, str], hookpoints: Sequence[Hookpoint], engine: Engine, batch_size: int
) -> Iterator[Rows]:
    ids = list(prompts)
    for start in range(0, len(ids), batch_size):
        batch = ids[start : start + batch_size]
        found = text_activations(model, [prompts[id_] for id_ in batch], hookpoints, engine, batch_size)
        masks = token_types(found.token_ids, model.pipeline.tokenizer.eos_token_id)
        types = sum(mask.int() * TOKEN_TYPES.index(name) for name, mask in masks.items())
        for hookpoint in hookpoints:
            yield Rows(hookpoint, found[hookpoint], batch, token_types=types)
