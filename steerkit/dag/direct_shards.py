"""Shards on a runner without Prefect: what `steerkit run --no-prefect --runner dask` and `dvc repro` use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from steerkit.dag.clusters import cluster_for_stage
from steerkit.dag.context import progress
from steerkit.dag.runners import Runner, deaths_told
from steerkit.dag.shard_queue import drive
from steerkit.dag.shard_worker import ShardCall, pack, run_shard


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
