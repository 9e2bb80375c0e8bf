"""The shards of one stage: in this process one after the other, or on whatever runner the flow has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from steerkit.dag import project, runners
from steerkit.dag.context import progress, running_stage
from steerkit.dag.runners import Runner

Job = TypeVar("Job")
Result = TypeVar("Result")

KEPT = "kept"
"""What the work of a shard returns when its output was there already: the shard's task run is then `Cached`."""


class ShardMapper(Protocol):
    """How the shards of the running stage are spread."""

    def __call__(
        self, work: Callable[[Any], Any], jobs: Sequence[Any], what: str, runner: Runner | None
    ) -> list[Any]: ...


_mapper: ContextVar[ShardMapper | None] = ContextVar("steerkit_shard_mapper", default=None)


def map_shards(
    work: Callable[[Job], Result], jobs: Sequence[Job], what: str = "shards", *, processes: int = 1
) -> list[Result]:
    """The results of ``work(job)`` for each job, in the order of ``jobs``; reports progress in units of ``what``.

    They are spread by the runner that `steerkit run --runner` or STEERKIT_RUNNER names; without one over as many
    ``processes`` of this machine as the stage thinks worth their start. Outside a stage they are computed here.

    Shards may run in other processes, so ``work`` is a function of a module (no closure, no lambda), jobs and results
    are small and picklable, and all that a shard needs of the stage (code_digest(), files of previous_output()) is in
    its job. A shard may be started twice: ``work`` writes its output atomically and returns KEPT if it is there.
    What it keeps between shards, such as a loaded model, it keeps per thread.
    """
    mapper, runner = _mapper.get(), runners.chosen()
    workers = min(processes, len(jobs))
    if runner is None and workers > 1:
        runner = Runner("processes", workers=workers)
    if mapper is not None:
        return mapper(work, jobs, what, runner)
    if runner is not None and jobs and running_stage() is not None:
        from steerkit.dag.direct_shards import map_directly

        return map_directly(runner, project.find_root(), work, jobs, what)
    return one_by_one(work, jobs, what)


def one_by_one(work: Callable[[Job], Result], jobs: Sequence[Job], what: str) -> list[Result]:
    """Shards in this thread, in order; the first failure ends it."""
    results = []
    for done, job in enumerate(jobs, start=1):
        results.append(work(job))
        progress(done, len(jobs), what)
    return results


@contextmanager
def shards_mapped_by(mapper: ShardMapper) -> Iterator[None]:
    """What map_shards() does within the block, in this thread."""
    token = _mapper.set(mapper)
    try:
        yield
    finally:
        _mapper.reset(token)
