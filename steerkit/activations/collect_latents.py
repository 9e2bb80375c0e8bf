"""Collect what modules of the denoiser compute, for autoencoders: planned, done shard by shard anywhere, committed.

    jobs = plan_collection(model, prompts, collection, folder)     # steerkit.activations.shard_plan
    for job in jobs:                                               # or in many processes, in any order
        collect_shard(job)
    commit_collection(jobs)

A shard is whole or absent: its files, and then `NAME.KEY.json`, which says what they are, come by rename. What was done
before a kill is not done again. The store is there when `commit_collection` has written its manifest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from steerkit.activations.early_exit import run_until
from steerkit.activations.manifest import MANIFEST, Manifest, Shard
from steerkit.activations.picture_rows import PictureRows
from steerkit.activations.rows import Rows
from steerkit.activations.shard_plan import CollectedPrompt, Collection, ShardJob, plan_collection
from steerkit.activations.shard_writer import ShardWriter
from steerkit.activations.whole_file import enough_space, take_over, whole
from steerkit.errors import UserError
from steerkit.models.generate import batches, image_size
from steerkit.models.load import LoadedModel, default_device, load_model
from steerkit.models.once_per_thread import OncePerThread
from steerkit.models.same_threads import same_threads
from steerkit.models.schedule import timesteps
from steerkit.models.spec import ModelSpec

__all__ = ["collect_rows", "collect_shard", "commit_collection", "load_once", "plan_collection"]

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
    is loaded once, for all shards of the same one. `run`: in place of `collect_rows`, for whoever wants more of the
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
    whole = all(_size(job.folder / file.path) == file.bytes for file in found.shard.files)
    return found if whole and found.shard.key == job.key else None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _note(job: ShardJob, finished: _Finished) -> None:
    text = json.dumps(finished.model_dump(mode="json"), sort_keys=True) + "\n"
    whole(job.side_file, lambda partial: partial.write_text(text, encoding="utf-8"))


def _taken_over(job: ShardJob) -> bool:
    shard = job.held
    if shard is None or any(_size(job.sources[file.path]) != file.bytes for file in shard.files):
        return False
    for file in shard.files:
        source, target = job.sources[file.path], job.folder / file.path
        if source == target:
            continue
        take_over(source, target)
    _note(job, _Finished(shard=shard))
    return True


# A model for each thread: two shards at once in one model would meet each other's hooks.
_models: OncePerThread[LoadedModel] = OncePerThread()


def load_once(spec: ModelSpec, digest: str) -> LoadedModel:
    """The model, loaded once in each thread for as long as the same one is asked for."""
    wanted = (digest, spec.model_copy(update={"source": "", "name": ""}), default_device())
    return _models.get(wanted, lambda: load_model(spec, digest))


def shard_model(job: ShardJob) -> LoadedModel:
    """The model of a job, loaded once in each thread; UserError on another kind of device than was planned for."""
    here = default_device().type
    if here != job.device:
        raise UserError(
            f"The shards were planned for {job.device}, and this process would run on {here}, which gives other bits; "
            "set STEERKIT_DEVICE alike everywhere."
        )
    return load_once(job.spec, job.model.digest)
