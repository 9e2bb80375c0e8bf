"""The shards of a stage as task runs of a sub-flow, which has the task runner that the stage's own flow must not have.

A stage runs in the flow's process, where DVC's locks are; only its shards go to the workers of a cluster.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from steerwright.dag.context import progress, running_stage
from steerwright.dag.prefect.crashed_runs import recorded
from steerwright.dag.prefect.progress import project_logs_in_runs
from steerwright.dag.prefect.retry import RETRY_DELAYS_SECONDS, worth_retrying
from steerwright.dag.prefect.settings import every, records_folder
from steerwright.dag.shards.clusters import cluster_for_stage
from steerwright.dag.shards.map import KEPT, ShardMapper, drive
from steerwright.dag.shards.runners import LOCAL, Runner, WorkersDied, deaths_told
from steerwright.dag.shards.workers import ShardCall, pack, run_shard
from steerwright.errors import UserError

logger = logging.getLogger(__name__)

# A flow is pickled with every shard that it submits, so what it does is not in its closure.
_body: ContextVar[Callable[[], Any]] = ContextVar("steerwright_shards_body")


def prefect_mapper(root: Path) -> ShardMapper:
    """What map_shards() does inside a stage's task run: a sub-flow on the runner."""

    def mapper(work: Callable[[Any], Any], jobs: Sequence[Any], what: str, runner: Runner | None) -> list[Any]:
        if not jobs:
            return []
        running = running_stage()
        stage = running.name if running else what
        if runner is None or runner.kind == "threads":
            return _SubFlow(root, stage, work, jobs, what, runner, runner.workers if runner else 1).run()
        call = ShardCall.of(work, root, runner.worker_threads)
        cluster = cluster_for_stage(runner, root)
        if cluster.processes is not None:
            # A thread of the flow's process waits for each shard, and has its task run.
            return _SubFlow(root, stage, cluster.processes.work(call), jobs, what, runner, runner.workers).run()
        return _SubFlow(root, stage, call, jobs, what, runner, 2 * cluster.slots, cluster.address).run()

    return mapper


def compute_shard(work: Callable[[Any], Any] | ShardCall, job: Any) -> Any:
    """What a shard's task run does, in the flow's process or, as a ShardCall with a packed job, in another."""
    from prefect.states import Completed, Failed

    try:
        # In the flow's process, log lines of the project go to Prefect already.
        with project_logs_in_runs() if isinstance(work, ShardCall) else nullcontext():
            result = run_shard(work, job) if isinstance(work, ShardCall) else work(job)
    except UserError as error:
        # With the error as its data: it is raised again where the flow waits for it, without a traceback here.
        return Failed(message=str(error), data=error)
    if _is_kept(result):
        return Completed(name="Cached", message="was there already", data=result)
    return result


def run_sub_flow() -> Any:
    """The function of every sub-flow."""
    return _body.get()()


@dataclass
class _SubFlow:
    root: Path
    stage: str
    work: Callable[[Any], Any] | ShardCall
    jobs: Sequence[Any]
    what: str
    runner: Runner | None
    in_flight: int
    address: str | None = None
    results: list[Any] = field(default_factory=list)
    failure: Exception | None = None
    ended: dict[Any, tuple[str, Any]] = field(default_factory=dict)

    def run(self) -> list[Any]:
        from prefect import flow
        from prefect.transactions import BaseTransaction

        sub_flow = flow(
            name=f"{self.stage}-shards",
            flow_run_name=f"{self.stage}: {len(self.jobs)} {self.what}",
            task_runner=_task_runner(self.runner, self.address),
            persist_result=False,
        )(run_sub_flow)
        # Outside the stage's transaction: Prefect would set finished shards to RolledBack when a later one fails.
        with _set(_body, self.drive), _set(BaseTransaction.__var__, None), _server_named():
            state = sub_flow(return_state=True)
        if self.failure is not None:
            raise self.failure
        if not state.is_completed():
            raise RuntimeError(f"the run of the {self.what} of {self.stage} ended as {state.name}: {state.message}")
        return self.results

    def drive(self) -> Any:
        from prefect import task
        from prefect.cache_policies import NO_CACHE
        from prefect.context import TaskRunContext
        from prefect.runtime import flow_run
        from prefect.states import Completed, Failed

        shard = task(
            name=self.stage,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=1,
            retry_delay_seconds=RETRY_DELAYS_SECONDS[0],
            retry_condition_fn=_retry_can_help,
        )(compute_shard)

        def submit(index: int) -> Any:
            named = shard.with_options(task_run_name=self.name(index))
            if self.runner is None:
                # In the stage's own thread, which has the model that it has loaded.
                return _Computed(named(self.work, self.jobs[index], return_state=True))
            job = self.jobs[index]
            return named.submit(self.work, pack(job) if isinstance(self.work, ShardCall) else job)

        def on_done(done: int) -> None:
            progress(done, len(self.jobs), self.what)

        # Without the context of the stage's task run: it is pickled with every shard, and holds the open session.
        with recorded(flow_run.id, records_folder(self.root)), _set(TaskRunContext.__var__, None):
            try:
                self.results = drive(len(self.jobs), self.in_flight, submit, self.take, on_done)
            except Exception as error:
                self.failure = error
            if isinstance(self.work, ShardCall):
                settle(flow_run.id, shard, self.ended)
        if self.failure is not None:
            return Failed(message=str(self.failure))
        made = sum(not _is_kept(result) for result in self.results)
        if not made:
            return Completed(name="Cached", message=f"all {len(self.jobs)} {self.what} were there already")
        return Completed(message=f"{made} of {len(self.jobs)} {self.what} made")

    def name(self, index: int) -> str:
        width = len(str(len(self.jobs)))
        return f"{self.stage} {index + 1:0{width}d} of {len(self.jobs)}"

    def take(self, index: int, future: Any) -> Any:
        from prefect.states import Crashed

        if isinstance(future, _Computed):
            return future.state.result()
        future.wait()
        try:
            with deaths_told(self.name(index)):
                result = future.result()
        except WorkersDied as error:
            self.ended[future.task_run_id] = self.name(index), Crashed(message=str(error))
            raise
        except Exception:
            self.ended[future.task_run_id] = self.name(index), future.state
            raise
        self.ended[future.task_run_id] = self.name(index), future.state
        release = getattr(future.wrapped_future, "release", None)
        if release is not None:
            # Dask computes a result again when the worker that holds it dies, unless nobody wants it any more.
            release()
        return result


@dataclass(frozen=True)
class _Computed:
    """The future of a shard that was computed when it was submitted."""

    state: Any

    def add_done_callback(self, tell: Callable[[Any], None]) -> None:
        tell(self)


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


@contextmanager
def _server_named() -> Iterator[None]:
    """The address of the server in the settings that go to the workers; one that lives as long as the run has none."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    with get_client(sync_client=True) as client:
        address = str(client.api_url)
    with temporary_settings({PREFECT_API_URL: address.rstrip("/")}):
        yield


def _is_kept(result: Any) -> bool:
    return isinstance(result, str) and result == KEPT


def _task_runner(runner: Runner | None, address: str | None) -> Any:
    from prefect.task_runners import ThreadPoolTaskRunner

    if runner is None or runner.kind in LOCAL:
        return ThreadPoolTaskRunner(max_workers=runner.workers if runner else None)
    if runner.kind == "dask":
        from prefect_dask import DaskTaskRunner

        return DaskTaskRunner(address=address)
    from prefect_ray import RayTaskRunner

    # It finds the Ray that is up in this process.
    return RayTaskRunner()


def _retry_can_help(_task: Any, _run: Any, state: Any) -> bool:
    return isinstance(state.data, BaseException) and worth_retrying(state.data)


# Report final shard states to Prefect on behalf of dead workers.
#
# A worker sends the states of its task runs from a thread of its own. Killed, it takes with it what it had not sent
# yet, also of shards that it had finished before.

PATIENCE_SECONDS = 5.0
SECONDS_BETWEEN_LOOKS = 0.25


def settle(flow_run_id: UUID, task: Any, ended: dict[UUID, tuple[str, Any]]) -> None:
    """See to it that the server has every task run in ``ended`` (name, final state); a failure to is only logged.

    What workers have under way to the server gets five seconds.
    """
    from prefect.client.orchestration import get_client
    from prefect.states import State

    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        with get_client(sync_client=True) as client:
            known = _known(client, flow_run_id)
            while not all(known.get(run) for run in ended) and time.monotonic() < deadline:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                known = _known(client, flow_run_id)
            for run, (name, state) in ended.items():
                if known.get(run):
                    continue
                # Without its data: a result is nobody's there.
                told: Any = State(type=state.type, name=state.name, message=state.message)
                if run not in known:
                    client.create_task_run(task, flow_run_id, str(run), id=run, name=name, state=told)
                else:
                    client.set_task_run_state(run, told, force=True)
    except Exception as error:
        logger.warning("The final states of some shards were not recorded in Prefect: %s", error)


def _known(client: Any, flow_run_id: UUID) -> dict[UUID, bool]:
    """Whether it is over, for each task run of the flow run that the server knows."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    only = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    runs = every(client.read_task_runs, flow_run_filter=only)
    return {run.id: run.state is not None and run.state.is_final() for run in runs}
