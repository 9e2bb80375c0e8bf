"""Collect what modules of the denoiser compute, for autoencoders: planned, done shard by shard anywhere, committed.

    jobs = plan_collection(model, prompts, collection, folder)     # steerwright.activations.shard_plan
    for job in jobs:                                               # or in many processes, in any order
        collect_shard(job)
    commit_collection(jobs)

A shard is whole or absent: its files, and then `NAME.KEY.json`, which says what they are, come by rename. What was done
before a kill is not done again. The store is there when `commit_collection` has written its manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from steerwright.activations.early_exit import run_until
from steerwright.activations.prompt_tokens import type_indices
from steerwright.activations.record import Capture, capture
from steerwright.activations.shard_plan import CollectedPrompt, Collection, ShardJob
from steerwright.activations.store.format import MANIFEST, Manifest, Shard
from steerwright.activations.store.rows import Rows, token_grid
from steerwright.activations.store.writer import ShardWriter
from steerwright.errors import UserError
from steerwright.files import atomic_write, enough_space, link_or_copy
from steerwright.models.families import family_of
from steerwright.models.generate import Batch, Options, batches, generate_batches, image_size
from steerwright.models.load import LoadedModel, default_device, load_once, same_threads
from steerwright.models.schedule import timesteps

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


# Record batches of this many bytes of values: big enough that what surrounds them does not count, small enough that a
# buffer for each of many hookpoints stays small beside the model.
BATCH_BYTES = 16 << 20


class _Finished(BaseModel):
    """The content of NAME.KEY.json: a finished shard, and the MD5 of its files as far as it is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard: Shard
    md5: dict[str, str] = {}


Run = Callable[[LoadedModel, ShardJob, Callable[[Rows], None]], None]
"""Has a model compute the rows of a job, and hands them on."""


def collect_shard(job: ShardJob, run: Run | None = None) -> Literal["kept", "collected"]:
    """Write the files of one shard, and the small file that says that they are whole, unless they are there already.

    "kept" if they were, in the folder or in an earlier version of it, which is then linked. In each thread the model
    is loaded once, for all shards of the same one. `run`: in place of `collect_rows`, where a caller wants more of the
    same forwards. Raises UserError when the disk is full, or when this machine has another kind of device than the
    plan was made for.
    """
    if _finished(job) is not None:
        return "kept"
    with enough_space(f"the activations in {job.folder}", "finished shards"):
        if _taken_over(job):
            return "kept"
        model = shard_model(job)
        with ShardWriter(
            job.folder, job.name, job.key, [one.id for one in job.prompts], dtype=job.dtype,
            hookpoints=[str(hookpoint) for hookpoint in job.hookpoints], batch_bytes=BATCH_BYTES,
        ) as writer, same_threads(job.threads):  # fmt: skip
            if run is None:
                collect_rows(model, job.prompts, job.collection, writer.add)
            else:
                run(model, job, writer.add)
            _note(job, _Finished(shard=writer.commit(), md5=writer.md5))
    return "collected"


def commit_collection(jobs: Sequence[ShardJob]) -> dict[str, str]:
    """Make the finished shards of `jobs`, which are all of a folder's, a complete store; what is not part of it goes.

    Returns the MD5 of the files as far as it is known from writing them, so that nobody need read them for it. Raises
    UserError when a shard is missing.
    """
    if not jobs:
        raise ValueError("there is no shard to commit")
    folder, first = jobs[0].folder, jobs[0]
    found = {job.name: _finished(job) for job in jobs}
    if missing := [name for name, finished in found.items() if finished is None]:
        raise UserError(
            f"{len(missing)} of {len(jobs)} shards of {folder} are not finished ({', '.join(missing[:3])}); run again: "
            "the others are kept."
        )
    finished = [found[name] for name in sorted(found)]
    manifest = Manifest(
        complete=True,
        model=first.model,
        dtype=first.dtype,
        provenance=first.provenance,
        shards=tuple(one.shard for one in finished if one is not None),
    )
    with enough_space(f"the activations in {folder}", "finished shards"):
        manifest.write(folder)
    listed = {file.path for shard in manifest.shards for file in shard.files} | {MANIFEST}
    for path in folder.iterdir():
        if path.name not in listed:
            path.unlink()
    return {path: md5 for one in finished if one is not None for path, md5 in one.md5.items()}


def collect_rows(
    model: LoadedModel, prompts: Sequence[CollectedPrompt], collection: Collection, take: Callable[[Rows], None]
) -> None:
    """Run the prompts and hand what `collection` asks for to `take`, step by step; values are valid until it returns.

    No picture is made: a batch ends with the deepest hookpoint at the last step. Without guidance, and for FLUX, the
    only branch is recorded as `none`.
    """
    schedule = timesteps(model.pipeline, model.spec.steps)
    last = len(schedule) - 1 if collection.steps is None else collection.steps[-1]
    rows = PictureRows(model, collection, take, image_size(model))
    for batch in batches([one.prompt for one in prompts], [one.seed for one in prompts], collection.batch_size):
        rows.begin([one.id for one in prompts[batch.start : batch.stop]], batch.seeds)
        run_until(model, batch, collection.parsed(), last, rows.add, guidance=collection.guidance)


def _finished(job: ShardJob) -> _Finished | None:
    try:
        found = _Finished.model_validate_json(job.side_file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return None
    atomic_write = all(_size(job.folder / file.path) == file.bytes for file in found.shard.files)
    return found if atomic_write and found.shard.key == job.key else None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _note(job: ShardJob, finished: _Finished) -> None:
    text = json.dumps(finished.model_dump(mode="json"), sort_keys=True) + "\n"
    atomic_write(job.side_file, lambda partial: partial.write_text(text, encoding="utf-8"))


def _taken_over(job: ShardJob) -> bool:
    shard = job.held
    if shard is None or any(_size(job.sources[file.path]) != file.bytes for file in shard.files):
        return False
    for file in shard.files:
        source, target = job.sources[file.path], job.folder / file.path
        if source == target:
            continue
        link_or_copy(source, target)
    _note(job, _Finished(shard=shard))
    return True


def shard_model(job: ShardJob) -> LoadedModel:
    """The model of a job, loaded once in each thread; UserError on another kind of device than was planned for."""
    here = default_device().type
    if here != job.device:
        raise UserError(
            f"The shards were planned for {job.device}, and this process would run on {here}, which gives other bits; "
            "set STEERWRIGHT_DEVICE alike everywhere."
        )
    return load_once(job.spec, job.model.digest)


# From what hooks see while pictures are made to rows: of the steps, branches and tokens that are asked for.


class PictureRows:
    """A sink of captures of pictures of `size` (height, width) pixels, which hands their rows to `take`."""

    def __init__(
        self, model: LoadedModel, collection: Collection, take: Callable[[Rows], None], size: tuple[int, int]
    ) -> None:
        self._model, self._collection, self._take, self._size = model, collection, take, size
        self._sample = None if collection.tokens is None else TokenSample(collection.tokens, collection.token_seed)
        # Positions are the same for all hookpoints with the same number of tokens, and for both branches.
        self._chosen: dict[tuple[int, int], Tensor | None] = {}
        self._ids: list[str] = []
        self._seeds: Sequence[int] = ()

    def begin(self, ids: Sequence[str], seeds: Sequence[int]) -> None:
        """The batch whose captures come next: a prompt's id and a seed for each picture."""
        self._ids, self._seeds = list(ids), seeds
        self._chosen.clear()

    def add(self, seen: Capture) -> None:
        """Hand on the rows of a capture, as far as they are asked for; values are valid until `take` returns."""
        step, asked = seen.step, self._collection
        if step is None or (asked.steps is not None and step.index not in asked.steps):
            return
        for branch, rows in seen.branches:
            if branch != "none" and branch not in asked.branches:
                continue
            values, grid = self._by_token(seen, seen.tensor[rows])
            types = self._types(seen, rows)
            at = self._positions(step.index, values.shape[1])
            if at is not None:
                values = values.gather(1, at.to(values.device)[..., None].expand(-1, -1, values.shape[2]))
                types = None if types is None else types.gather(1, at.to(types.device))
            self._take(Rows(seen.hookpoint, values, self._ids, self._seeds, step, branch, grid, types, at))

    def _positions(self, step: int, tokens: int) -> Tensor | None:
        if self._sample is None:
            return None
        key = (step, tokens)
        if key not in self._chosen:
            kept = self._sample.positions(self._ids, *key)
            self._chosen[key] = None if kept is None else torch.from_numpy(kept)
        return self._chosen[key]

    def _types(self, seen: Capture, rows: slice) -> Tensor | None:
        """Types of text tokens; None for image tokens."""
        if seen.hookpoint.tokens != "text" or seen.token_ids is None:
            return None
        return type_indices(self._model.pipeline.tokenizer_2, seen.token_ids[rows])

    def _by_token(self, seen: Capture, tensor: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """As [n, tokens, d], with the token grid: maps [n, d, h, w] of a UNet's block, or sequences [n, tokens, d]."""
        if tensor.ndim == 4 and seen.hookpoint.tokens is None:
            n, d, rows, columns = tensor.shape
            return tensor.permute(0, 2, 3, 1).reshape(n, rows * columns, d), (rows, columns)
        if tensor.ndim == 3:
            match seen.hookpoint.tokens:
                case "text":
                    return tensor, (tensor.shape[1],)
                case "image":
                    return tensor, family_of(self._model.pipeline).image_grid(self._model.pipeline, *self._size)
                case _:
                    return tensor, token_grid(tensor.shape[1], *self._size)
        raise UserError(f"A hookpoint gives a tensor of shape {list(tensor.shape)}, which has no tokens; name a block.")


def collect_pictures(
    model: LoadedModel,
    prompts: Sequence[CollectedPrompt],
    collection: Collection,
    take: Callable[[Rows], None],
    **options: Unpack[Options],
) -> Iterator[tuple[Batch, npt.NDArray[np.uint8]]]:
    """Make the pictures of `prompts`, uint8 [n, h, w, 3] batch by batch, and hand rows to `take` on the way.

    As `generate_batches` and `collect_rows` in one run. `collection` says which rows, and the batch size and guidance
    that `options` leave out; rows are as edits among `options` left them. A batch's rows have been handed on when its
    pictures come.
    """
    asked: Options = {"batch_size": collection.batch_size, "guidance": collection.guidance, **options}
    rows = PictureRows(model, collection, take, image_size(model, options.get("height"), options.get("width")))
    edits = options.get("edits")

    @contextmanager
    def watched(batch: Batch) -> Iterator[None]:
        rows.begin([one.id for one in prompts[batch.start : batch.stop]], batch.seeds)
        if edits is None:
            with capture(model.pipeline, collection.parsed(), rows.add, copy=False):
                yield
        else:
            with edits(batch), capture(model.pipeline, collection.parsed(), rows.add, copy=False):
                yield

    asked["edits"] = watched
    yield from generate_batches(model, [one.prompt for one in prompts], [one.seed for one in prompts], **asked)


# Which tokens of a picture are kept at a denoising step, where not all are: the same ones however it is run.
#
# The choice is made from the prompt's id and the step alone, by hashing, so that neither batching nor another prompt, a
# process, a device or a release of a library changes it. All branches and all hookpoints with the same grid share it,
# and of two sample sizes the smaller one's tokens are among the larger one's.


class TokenSample:
    """Keeps `count` tokens of each prompt at each step, chosen by `seed`."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self._seed = count, seed

    def positions(self, prompts: Sequence[str], step: int, tokens: int) -> npt.NDArray[np.int64] | None:
        """Positions [prompts, count], ascending, of the grid's `tokens`; None where it has no more than `count`."""
        import numpy as np

        if tokens <= self.count:
            return None
        keys = np.array([self._key(prompt, step) for prompt in prompts], np.uint64)
        ranks = _mixed(keys[:, None] + np.arange(tokens, dtype=np.uint64)[None] * np.uint64(_GOLDEN))
        # Stable, so that equal ranks, should there be any, fall alike everywhere.
        return np.sort(np.argsort(ranks, axis=1, kind="stable")[:, : self.count], axis=1)

    def _key(self, prompt: str, step: int) -> int:
        return int.from_bytes(hashlib.sha256(f"{self._seed}/{step}/{prompt}".encode()).digest()[:8], "big")


# splitmix64 (Steele, Lea and Flood 2014): neighbouring numbers come out unlike one another.
_GOLDEN = 0x9E3779B97F4A7C15


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    import numpy as np

    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
