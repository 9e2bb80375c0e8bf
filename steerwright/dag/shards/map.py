"""The shards of one stage: in this process one after the other, or on whatever runner the flow has."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol, TypeVar

from steerwright.dag import project
from steerwright.dag.context import progress, running_stage
from steerwright.dag.shards import runners
from steerwright.dag.shards.clusters import cluster_for_stage
from steerwright.dag.shards.runners import Runner, deaths_told
from steerwright.dag.shards.workers import ShardCall, pack, run_shard

Job = TypeVar("Job")
Result = TypeVar("Result")

KEPT = "kept"
"""What the work of a shard returns when its output was there already: the shard's task run is then `Cached`."""


class ShardMapper(Protocol):
    """How the shards of the running stage are spread."""

    def __call__(
        self, work: Callable[[Any], Any], jobs: Sequence[Any], what: str, runner: Runner | None
    ) -> list[Any]: ...


_mapper: ContextVar[ShardMapper | None] = ContextVar("steerwright_shard_mapper", default=None)


def map_shards(
    work: Callable[[Job], Result], jobs: Sequence[Job], what: str = "shards", *, processes: int = 1
) -> list[Result]:
    """The results of ``work(job)`` for each job, in the order of ``jobs``; reports progress in units of ``what``.

    They are spread by the runner that `steerwright run --runner` or STEERWRIGHT_RUNNER names; without one over as many
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


# Shards on a runner without Prefect: what `steerwright run --no-prefect --runner dask` and `dvc repro` use.


def map_directly(runner: Runner, root: Path, work: Callable[[Any], Any], jobs: Sequence[Any], what: str) -> list[Any]:
    """Results of ``work`` in the order of ``jobs``, computed by the runner's workers.

    A shard whose worker dies is started again on another (Dask and Ray do so, too), three times at most.
    """

    def on_done(done: int) -> None:
        progress(done, len(jobs), what)

    if runner.kind == "threads":
        return _in_threads(runner.workers, work, jobs, on_done)
    call = ShardCall.of(work, root, runner.worker_threads)
    cluster = cluster_for_stage(runner, root)
    if cluster.processes is not None:
        return _in_threads(cluster.slots, cluster.processes.work(call), jobs, on_done)
    if runner.kind == "dask":
        return _on_dask(cluster.address, 2 * cluster.slots, call, jobs, on_done)
    return _on_ray(2 * cluster.slots, call, jobs, on_done)


def _in_threads(
    workers: int, work: Callable[[Any], Any], jobs: Sequence[Any], on_done: Callable[[int], None]
) -> list[Any]:
    with ThreadPoolExecutor(workers, thread_name_prefix="shard") as pool:
        return drive(
            len(jobs),
            workers,
            lambda index: pool.submit(work, jobs[index]),
            lambda _, future: future.result(),
            on_done,
        )


def _on_dask(
    address: str | None, in_flight: int, call: ShardCall, jobs: Sequence[Any], on_done: Callable[[int], None]
) -> list[Any]:
    from distributed import Client

    with Client(address, set_as_default=False) as client:

        def take(index: int, future: Any) -> Any:
            with deaths_told(f"shard {index + 1} of {len(jobs)}"):
                result = future.result()
            # A result that nobody wants any more is not computed again when its worker dies.
            future.release()
            return result

        return drive(
            len(jobs), in_flight, lambda i: client.submit(run_shard, call, pack(jobs[i]), pure=False), take, on_done
        )


def _on_ray(in_flight: int, call: ShardCall, jobs: Sequence[Any], on_done: Callable[[int], None]) -> list[Any]:
    import ray

    remote = ray.remote(run_shard)

    def take(index: int, future: Any) -> Any:
        with deaths_told(f"shard {index + 1} of {len(jobs)}"):
            try:
                return future.result()
            except ray.exceptions.RayTaskError as error:
                # Ray's own class repeats the worker's traceback inside the message.
                raise error.cause from None

    return drive(len(jobs), in_flight, lambda i: remote.remote(call, pack(jobs[i])).future(), take, on_done)


# Shards in flight: a few more than there are workers, so that none waits and a failure stops the rest.

log = logging.getLogger(__name__)


def drive(
    count: int,
    in_flight: int,
    submit: Callable[[int], Any],
    take: Callable[[int, Any], Any],
    on_done: Callable[[int], None],
) -> list[Any]:
    """Results of shards 0 to ``count`` - 1, at most ``in_flight`` of them submitted and not yet taken.

    ``submit(index)`` gives a future that has add_done_callback(); ``take(index, future)`` gives its result or
    raises. ``on_done`` hears how many are done. After a failure no further shard is submitted, those in flight end,
    and the first failure is raised.
    """
    results: list[Any] = [None] * count
    finished: queue.SimpleQueue[int] = queue.SimpleQueue()
    futures: dict[int, Any] = {}
    failure: Exception | None = None
    upcoming = iter(range(count))
    done = 0
    while True:
        while failure is None and len(futures) < in_flight:
            index = next(upcoming, None)
            if index is None:
                break
            futures[index] = submit(index)
            futures[index].add_done_callback(lambda _, index=index: finished.put(index))
        if not futures:
            break
        index = finished.get()
        try:
            results[index] = take(index, futures.pop(index))
        except Exception as error:
            if failure is not None:
                log.error("shard %d of %d failed too: %s", index + 1, count, error)
            failure = failure or error
            continue
        done += 1
        on_done(done)
    if failure is not None:
        raise failure
    return results
