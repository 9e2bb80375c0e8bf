"""What collecting costs in pictures, hours, bytes and memory, before it begins; whether the disk can hold it."""

from __future__ import annotations

import io
import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from steerwright.activations.denoiser import BATCH_BYTES, collect_rows
from steerwright.activations.shard_plan import CollectedPrompt, Collection, ShardJob, check, shard_groups
from steerwright.activations.store.format import Layout
from steerwright.activations.store.row_buffer import RowBuffer
from steerwright.activations.store.rows import DTYPES, Rows, dtype_name, schema
from steerwright.activations.store.writer import ShardWriter
from steerwright.errors import UserError
from steerwright.models.families import Step
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import LoadedModel
from steerwright.models.schedule import timesteps
from steerwright.models.spec import Dtype
from steerwright.models.without_weights import ModelWithoutWeights

_PROBE_STEPS = 4


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a collection costs. `memory` is bytes in use by this process during the probe, buffers for writing included.

    `seconds` and the memories are None where nothing was run; `gpu_memory` also without a GPU. `weights` are bytes of
    the model's weights and `gpu_weights` of those that lie on a GPU at once, where they were read off its configs.
    """

    pictures: int
    shards: int
    rows: dict[str, int]
    bytes: int
    seconds: float | None = None
    memory: int | None = None
    gpu_memory: int | None = None
    weights: int | None = None
    gpu_weights: int | None = None


def estimate_from_configs(
    model: ModelWithoutWeights, prompts: Sequence[CollectedPrompt], collection: Collection, rate: float | None = None
) -> Estimate:
    """As `estimate_collection` of a model of which nothing is loaded; time only by `rate`, in pictures per second.

    Raises UserError as `plan_collection` does.
    """
    check(model, collection)
    shapes = model.token_shapes(collection.parsed())
    layouts = {
        str(point): Layout(hookpoint=str(point), width=shape.width, grid=shape.grid) for point, shape in shapes.items()
    }
    groups = [group for _, group in shard_groups(prompts, collection)]
    every = len(timesteps(model.pipeline, model.spec.steps, model.size))
    steps, pictures = len(collection.steps or range(every)), sum(map(len, groups))
    weights = model.weights()
    return Estimate(
        pictures,
        len(groups),
        {name: pictures * steps * _kept(layout, collection) for name, layout in layouts.items()},
        sum(shard_bytes(layouts, group, collection, steps, model.spec.dtype) for group in groups),
        None if rate is None else pictures / rate,
        weights=weights.total,
        gpu_weights=weights.on_gpu(model.spec.offload),
    )


def estimate_collection(
    model: LoadedModel, prompts: Sequence[CollectedPrompt], collection: Collection, rate: float | None = None
) -> Estimate:
    """What collecting `prompts` costs; `rate` is pictures per second, None: a few steps of one batch are timed.

    Bytes follow from the shapes that one step of one picture shows, and are exact but for rounding and rows that are
    not finite. Raises UserError as `plan_collection` does.
    """
    check(model, collection)
    groups = [group for _, group in shard_groups(prompts, collection)]
    layouts = row_layouts(model, collection, groups[0][0])
    steps, pictures = _steps(model, collection), sum(map(len, groups))
    size = sum(shard_bytes(layouts, group, collection, steps, dtype_name(model.dtype)) for group in groups)
    rows = {
        name: pictures * steps * len(collection.branches) * _kept(layout, collection)
        for name, layout in layouts.items()
    }
    if rate is not None:
        return Estimate(pictures, len(groups), rows, size, pictures / rate)
    seconds, memory, gpu_memory = _probe(model, groups[0], collection)
    return Estimate(pictures, len(groups), rows, size, pictures * seconds, memory, gpu_memory)


def refuse_what_does_not_fit(model: LoadedModel, jobs: Sequence[ShardJob]) -> None:
    """UserError, with the numbers, when the shards that are still to be written need more than the disk has free."""
    missing = [job for job in jobs if job.held is None and not job.is_written()]
    if not missing:
        return
    collection, folder = missing[0].collection, missing[0].folder
    layouts = row_layouts(model, collection, missing[0].prompts[0])
    steps = _steps(model, collection)
    needed = sum(shard_bytes(layouts, job.prompts, collection, steps, job.dtype) for job in missing)
    free = shutil.disk_usage(folder).free
    if needed > free:
        pictures = sum(len(job.prompts) for job in missing)
        raise UserError(
            f"The activations of {pictures} pictures need {in_words(needed)} in {folder}, where {in_words(free)} are "
            f"free ({_per_picture(layouts, collection, steps, missing[0].dtype)} for each picture). Nothing was begun: "
            "collect fewer hookpoints, steps, tokens or prompts, or free some space."
        )


def row_layouts(model: LoadedModel, collection: Collection, prompt: CollectedPrompt) -> dict[str, Layout]:
    """Width and token grid of each hookpoint, from one denoising step of one picture."""
    found: dict[str, Layout] = {}

    def look(rows: Rows) -> None:
        assert rows.grid is not None
        name = str(rows.hookpoint)
        found[name] = Layout(hookpoint=name, width=rows.values.shape[2], grid=rows.grid)

    collect_rows(model, [prompt], collection.model_copy(update={"steps": (0,), "tokens": None}), look)
    return found


def shard_bytes(
    layouts: dict[str, Layout], prompts: Sequence[CollectedPrompt], collection: Collection, steps: int, dtype: Dtype
) -> int:
    """Bytes of the files of one shard."""
    ids, total = [prompt.id for prompt in prompts], 0
    for width in sorted({layout.width for layout in layouts.values()}):
        row, batch, file = _costs(dtype, width, list(layouts), ids)
        total += file
        capacity = BATCH_BYTES // (width * DTYPES[dtype].itemsize)
        for layout in layouts.values():
            if layout.width == width:
                kept = _kept(layout, collection)
                rows = len(prompts) * steps * len(collection.branches) * kept
                total += rows * row + math.ceil(rows / max(kept, capacity)) * batch
    return total


def in_words(size: float) -> str:
    """A number of bytes in decimal units: `12.3 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"


def _costs(dtype: Dtype, width: int, hookpoints: list[str], ids: list[str]) -> tuple[int, int, int]:
    """Bytes of a row, of a record batch without rows, of a file without batches: seen in files made in memory."""
    import pyarrow as pa

    def size(rows: int, count: int) -> int:
        sink = io.BytesIO()
        with pa.ipc.new_file(sink, schema(dtype, width)) as writer:
            buffer = RowBuffer(hookpoints, ids, dtype, width, rows)
            for _ in range(count):
                values = torch.zeros(1, rows, width, dtype=DTYPES[dtype])
                made = Rows(Hookpoint.parse(hookpoints[0]), values, ids[:1], [0], Step(0, 0.0, 0.0), "cond")
                for batch in (*buffer.add(made), *buffer.flush()):
                    writer.write_batch(batch)
        return len(sink.getvalue())

    # 8 rows: a multiple of what Arrow pads to.
    one, two, more = size(8, 1), size(8, 2), size(16, 1)
    row = (more - one) // 8
    return row, two - one - 8 * row, one - (two - one)


def _kept(layout: Layout, collection: Collection) -> int:
    tokens = math.prod(layout.grid)
    return tokens if collection.tokens is None else min(tokens, collection.tokens)


def _steps(model: LoadedModel, collection: Collection) -> int:
    return len(timesteps(model.pipeline, model.spec.steps)) if collection.steps is None else len(collection.steps)


def _per_picture(layouts: dict[str, Layout], collection: Collection, steps: int, dtype: Dtype) -> str:
    values = sum(_kept(layout, collection) * layout.width for layout in layouts.values())
    return in_words(values * DTYPES[dtype].itemsize * steps * len(collection.branches))


def _probe(
    model: LoadedModel, prompts: Sequence[CollectedPrompt], collection: Collection
) -> tuple[float, int, int | None]:
    """Seconds of a picture, bytes in use on the host and on the GPU: the first steps of a batch, written and all."""
    import psutil

    last = len(timesteps(model.pipeline, model.spec.steps)) - 1 if collection.steps is None else collection.steps[-1]
    some = list(prompts[: collection.batch_size])
    cuda = model.device.type == "cuda"

    def seconds(until: int) -> float:
        asked = collection.model_copy(update={"steps": tuple(range(until + 1))})
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            with ShardWriter(
                Path(folder), "probe", "0" * 16, [one.id for one in some], dtype=dtype_name(model.dtype),
                hookpoints=[str(hookpoint) for hookpoint in collection.parsed()], batch_bytes=BATCH_BYTES,
            ) as writer:  # fmt: skip
                collect_rows(model, some, asked, writer.add)
                writer.commit()
            return time.perf_counter() - begun

    if cuda:
        torch.cuda.reset_peak_memory_stats(model.device)
    seconds(0)  # warm: what the first forward of a shape sets up is no part of the rate
    first, steps = seconds(0), min(_PROBE_STEPS, last)
    each = (seconds(steps) - first) / steps if steps else 0.0
    host = psutil.Process().memory_info().rss + len(collection.parsed()) * BATCH_BYTES
    return (first + each * last) / len(some), host, torch.cuda.max_memory_allocated(model.device) if cuda else None
