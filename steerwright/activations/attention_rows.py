"""What attention layers give for contrast pairs, token by token: for a store, and from a store to running sums."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence

import torch

from steerwright.activations.paired_moments import PairedMoments, shuffle_signs
from steerwright.activations.record import Capture, capture
from steerwright.activations.store.reader import Store
from steerwright.activations.store.rows import Rows
from steerwright.errors import UserError
from steerwright.models.generate import Batch, image_size, run_pipeline
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import LoadedModel
from steerwright.models.running import Branch
from steerwright.prompts.contrast_pairs import ContrastPair

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


def token_grid(tokens: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the `tokens` that a picture of height x width pixels has at some depth of the UNet.

    Raises ValueError when no grid of about these proportions has so many.
    """
    rows = round((tokens * height / width) ** 0.5)
    if rows == 0 or tokens % rows:
        raise ValueError(f"{tokens} tokens are no grid of a picture of {height} x {width} pixels")
    return rows, tokens // rows


def moments_of_rows(
    store: Store, *, steps: int, shuffles: int, shuffle_seed: int = 0
) -> dict[tuple[Hookpoint, str], PairedMoments]:
    """The running sums that a store of `attention_rows` gives; one record batch at a time is in memory.

    Raises UserError when rows were left out because they were not finite.
    """
    found: dict[tuple[Hookpoint, str], PairedMoments] = {}
    names = {
        name.split(":")[0]: None
        for hookpoint in store.hookpoints[:1]
        for file, number in store.places(hookpoint)
        for name in file.index(number).column("prompt").unique().to_pylist()
    }
    swaps = dict(zip(names, shuffle_signs(list(names), shuffles, shuffle_seed).T, strict=True))
    shuffles = len(next(iter(swaps.values()), ()))
    for hookpoint in store.hookpoints:
        layout = store.layout(hookpoint)
        tokens = int(torch.tensor(layout.grid).prod())
        for values, batch in store.batches(hookpoint):
            images, rest = divmod(len(values), tokens)
            if rest or images % 2:
                raise UserError(
                    f"Rows at {hookpoint} are missing from {store.folder}: they were not finite. "
                    "Set the model's dtype to float32 or bfloat16, and collect again."
                )
            branch, step = batch.column("branch")[0].as_py(), batch.column("step")[0].as_py()
            ids = [batch.column("prompt")[image * tokens].as_py() for image in range(images // 2)]
            signs = torch.stack([swaps[id_.split(":")[0]] for id_ in ids], dim=1)
            means = values.reshape(images, tokens, layout.width).mean(
                1, dtype=torch.promote_types(values.dtype, torch.float32)
            )
            sums = found.setdefault((hookpoint, branch), PairedMoments.empty(steps, layout.width, shuffles))
            sums.add(step, means[: images // 2], means[images // 2 :], signs)
    return found
