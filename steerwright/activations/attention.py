"""What attention layers give for contrast pairs, at every denoising step, as running sums or row by row."""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from steerwright.activations.moments_file import MomentsShard, key_of, save_moments
from steerwright.activations.paired_moments import PairedMoments, shuffle_signs
from steerwright.activations.record import Capture, capture
from steerwright.activations.store.format import shard_key, shard_name
from steerwright.activations.store.rows import Rows, dtype_name, token_grid
from steerwright.activations.store.writer import StoreWriter
from steerwright.arguments import seed_list
from steerwright.models.attention_blocks import AttentionBlock
from steerwright.models.generate import Batch, image_size, run_pipeline
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import LoadedModel
from steerwright.models.running import Branch
from steerwright.models.schedule import timesteps
from steerwright.prompts.suite import ContrastPair

Moments = dict[tuple[AttentionBlock, Branch], PairedMoments]


def attention_moments(
    model: LoadedModel,
    pairs: Sequence[ContrastPair],
    blocks: Sequence[AttentionBlock],
    *,
    seeds: Sequence[int],
    branches: Sequence[Branch] = ("cond",),
    steps: int | None = None,
    guidance: float | None = None,
    shuffles: int = 20,
    shuffle_seed: int = 0,
    batch_pairs: int = 8,
    among: Sequence[ContrastPair] | None = None,
) -> Moments:
    """Make both images of every pair on every seed, up to the decoder, and sum up what `blocks` give on the way.

    Both sides of a pair start from the same noise. Memory does not depend on the number of pairs, seeds or images.
    Without guidance there is one branch only, and it counts as cond. Steps and guidance default to the model's own.
    `among`: all pairs of the concept, where `pairs` are a part of them whose sums are merged with those of the rest.
    """
    seeds = seed_list(seeds)
    swaps = _swaps(pairs if among is None else among, shuffles, shuffle_seed)
    shuffles = len(next(iter(swaps.values()), ()))
    schedule = timesteps(model.pipeline, model.spec.steps if steps is None else steps)
    places = {block.hookpoint: block for block in blocks}
    found: Moments = {
        (block, branch): PairedMoments.empty(len(schedule), block.width, shuffles, model.device)
        for block in blocks
        for branch in branches
    }
    drawn = [(pair, seed) for pair in pairs for seed in seeds]
    for start in range(0, len(drawn), batch_pairs):
        part = drawn[start : start + batch_pairs]
        signs = torch.stack([swaps[str(pair.id)] for pair, _ in part], dim=1).to(model.device)
        half = len(part)

        def sink(seen: Capture, signs: torch.Tensor = signs, half: int = half) -> None:
            assert seen.step is not None, "attention runs inside the UNet"
            for branch, rows in seen.branches:
                moments = found.get((places[seen.hookpoint], "cond" if branch == "none" else branch))
                if moments is not None:
                    # float32 at least: in half precision a mean over thousands of tokens loses its digits.
                    means = seen.tensor[rows].mean(1, dtype=torch.promote_types(seen.tensor.dtype, torch.float32))
                    moments.add(seen.step.index, means[:half], means[half:], signs)

        prompts = (*(pair.positive for pair, _ in part), *(pair.negative for pair, _ in part))
        noise = tuple(seed for _, seed in part)
        with capture(model.pipeline, places, sink, copy=False):
            batch = Batch(0, len(prompts), prompts, noise + noise)
            run_pipeline(model, batch, "latent", steps=steps, guidance=guidance)
    return found


def collect_attention(
    model: LoadedModel,
    pairs: Sequence[ContrastPair],
    blocks: Sequence[AttentionBlock],
    folder: Path,
    *,
    keep: Literal["moments", "rows"] = "moments",
    branches: Sequence[Branch] = ("cond",),
    seeds: Sequence[int],
    shuffles: int = 20,
    shards: int = 4,
    earlier: Mapping[str, Path] | None = None,
    code: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Fill `folder` with the sums (or the rows) of `pairs`, shard by shard; the names of the shards that were computed.

    A pair goes to one of `shards` shards by a hash of its id. A shard is taken from `folder` itself (an attempt that
    was killed) or from `earlier` (file name -> file of an earlier version) when nothing it depends on has changed, of
    which `code` is a part. `rows` are an activation store (docs/formats.md), and large: every token at every step.
    """
    seeds = seed_list(seeds)
    swaps = _swaps(pairs, shuffles)
    folder.mkdir(parents=True, exist_ok=True)
    members: dict[str, list[ContrastPair]] = {}
    for pair in pairs:
        members.setdefault(shard_name(str(pair.id), shards), []).append(pair)
    schedule = timesteps(model.pipeline, model.spec.steps)
    settings = {
        "keep": keep,
        "hookpoints": [str(block.hookpoint) for block in blocks],
        "branches": list(branches),
        "seeds": list(seeds),
        "shuffles": shuffles,
        "steps": model.spec.steps,
        "guidance": model.spec.guidance,
        "size": [model.spec.height, model.spec.width],
        "device": model.device.type,
    }
    identity = [model.fingerprint.computation, model.fingerprint.libraries, dtype_name(model.dtype)]
    keys = {
        name: shard_key(
            identity, settings, code, [(pair.id, pair.positive, pair.negative) for pair in some],
            # With few pairs, one more can change the swaps of the others.
            [swaps[str(pair.id)].tolist() for pair in some] if keep == "moments" else [],
        )
        for name, some in members.items()
    }  # fmt: skip
    computed: list[str] = []

    def each(reuse: Callable[[str, str], bool], make: Callable[[str, str, list[ContrastPair]], object]) -> None:
        for done, (name, some) in enumerate(sorted(members.items())):
            if progress is not None:
                progress(done, len(members))
            if not reuse(name, keys[name]):
                make(name, keys[name], some)
                computed.append(name)
        if progress is not None:
            progress(len(members), len(members))

    if keep == "rows":
        hookpoints = [block.hookpoint for block in blocks]
        with StoreWriter(
            folder,
            model=model.fingerprint,
            dtype=dtype_name(model.dtype),
            hookpoints=hookpoints,
            provenance=settings,
            earlier=earlier,
        ) as writer:

            def write(name: str, key: str, some: list[ContrastPair]) -> None:
                items = [f"{pair.id}:{side}" for pair in some for side in ("positive", "negative")]
                writer.write_shard(
                    name, key, items, attention_rows(model, some, hookpoints, seeds=seeds, branches=branches)
                )

            each(writer.reuse, write)
        return computed

    def save(name: str, key: str, some: list[ContrastPair]) -> None:
        moments = attention_moments(model, some, blocks, seeds=seeds, branches=branches, shuffles=shuffles, among=pairs)
        sums = {(block.hookpoint, str(branch)): found for (block, branch), found in moments.items()}
        save_moments(MomentsShard(sums, key, schedule, settings), folder / f"{name}.safetensors")

    each(lambda name, key: _reuse(folder / f"{name}.safetensors", key, earlier or {}), save)
    wanted = {f"{name}.safetensors" for name in members}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    return computed


def _swaps(pairs: Sequence[ContrastPair], shuffles: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """The signs of each pair, by its id: float64 [shuffles]."""
    ids = list(dict.fromkeys(str(pair.id) for pair in pairs))
    return dict(zip(ids, shuffle_signs(ids, shuffles, seed).T, strict=True))


def _reuse(path: Path, key: str, earlier: Mapping[str, Path]) -> bool:
    if key_of(path) == key:
        return True
    path.unlink(missing_ok=True)
    source = earlier.get(path.name)
    if source is None or key_of(source) != key:
        return False
    try:
        os.link(source, path)
    except OSError:  # another file system, or one without hard links
        partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        shutil.copyfile(source, partial)
        partial.replace(path)
    return True


# What attention layers give for contrast pairs, token by token: for a store, and from a store to running sums.

# Tensors between the model and the disk: enough that neither waits long, few enough that memory stays small.
_WAITING = 8


class _Stopped(Exception):
    """The reader has gone, so the model need not go on."""


def attention_rows(
    model: LoadedModel,
    pairs: Sequence[ContrastPair],
    hookpoints: Sequence[Hookpoint],
    *,
    seeds: Sequence[int],
    branches: Sequence[Branch] = ("cond",),
    batch_pairs: int = 8,
) -> Iterator[Rows]:
    """Rows of both sides of every pair on every seed, step by step, while the model runs in a thread of its own.

    An element holds the positive and then the negative images of some pairs (ids `7:positive`, `7:negative`). At most
    eight elements wait for the reader, so memory does not grow. What goes wrong in the thread is raised here.
    """
    height, width = image_size(model)
    waiting: queue.Queue[Rows | BaseException | None] = queue.Queue(_WAITING)
    stopped = threading.Event()

    def put(item: Rows | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return
            except queue.Full:
                continue
        raise _Stopped

    def work() -> None:
        try:
            drawn = [(pair, seed) for pair in pairs for seed in seeds]
            for start in range(0, len(drawn), batch_pairs):
                part = drawn[start : start + batch_pairs]
                ids = [f"{pair.id}:{side}" for side in ("positive", "negative") for pair, _ in part]
                noise = [seed for _, seed in part] * 2

                def sink(seen: Capture, ids: list[str] = ids, noise: list[int] = noise) -> None:
                    for branch, rows in seen.branches:
                        known: Branch = "cond" if branch == "none" else branch
                        if known in branches:
                            values = seen.tensor[rows].cpu().clone()
                            grid = token_grid(values.shape[1], height, width)
                            put(Rows(seen.hookpoint, values, ids, noise, seen.step, known, grid))

                prompts = (*(pair.positive for pair, _ in part), *(pair.negative for pair, _ in part))
                with capture(model.pipeline, hookpoints, sink, copy=False):
                    run_pipeline(model, Batch(0, len(prompts), prompts, tuple(noise)), "latent")
            put(None)
        except _Stopped:
            pass
        except BaseException as error:  # whatever it is belongs to the reader, who would else wait for ever
            put(error)

    thread = threading.Thread(target=work, name="attention-rows", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
