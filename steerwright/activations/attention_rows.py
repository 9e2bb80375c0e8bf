"""What attention layers give for contrast pairs, token by token: for a store, and from a store to running sums."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence

from steerwright.activations.record import Capture, capture
from steerwright.activations.store.rows import Rows, token_grid
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
