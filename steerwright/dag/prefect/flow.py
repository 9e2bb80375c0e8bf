"""A plan of the engine as a Prefect flow run: each stage starts the moment its last input is there."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from steerwright.dag.context import log_lines
from steerwright.dag.engine import Session, open_session
from steerwright.dag.outcome import Outcome, PlannedStage
from steerwright.dag.prefect.artifacts import Row, artifact_key, counted, latest_outputs, publish, summary_page
from steerwright.dag.prefect.crashed_runs import reap, recorded
from steerwright.dag.prefect.progress import ProgressArtifact, project_logs_in_runs
from steerwright.dag.prefect.retry import RETRY_DELAYS_SECONDS, ensure_gpu_limit, worth_retrying
from steerwright.dag.prefect.settings import records_folder
from steerwright.dag.prefect.shards import prefect_mapper
from steerwright.dag.shards import runners
from steerwright.dag.shards.map import shards_mapped_by
from steerwright.errors import UserError

logger = logging.getLogger(__name__)


def pipeline_flow(root: Path, name: str, **options: Any) -> Any:
    """Decorator like Prefect's `flow`, with the settings that all flows of the project share.

    Runs are named after the git revision; parallel stages are threads, so that models stay loaded in the process.
    """
    from prefect import flow
    from prefect.task_runners import ThreadPoolTaskRunner

    return flow(
        name=name,
        flow_run_name=lambda: f"{name} {revision(root)}",
        # Threads that wait for the `gpu` slot must not keep others from starting, hence more than there are cores.
        task_runner=ThreadPoolTaskRunner(max_workers=max(8, 2 * (os.cpu_count() or 1))),
        persist_result=False,
        **options,
    )


def run_plan(
    root: Path, name: str, targets: list[str] | None, *, force: bool = False, only: bool = False, thaw: bool = False
) -> Any:
    """Run the stages that lead to `targets` inside the current flow run; returns the run's final Prefect state.

    `Cached` when nothing had to be run; `Failed` with one line per failed stage otherwise, after every stage that does
    not depend on a failed one has been run.
    """
    from prefect.runtime import flow_run
    from prefect.states import Completed, Failed

    records = records_folder(root)
    with project_logs_in_runs(), recorded(flow_run.id, records):
        reap(records)
        ensure_gpu_limit()
        try:
            runners.chosen()
            with open_session(root) as session:
                plan = session.plan(targets, only)
                outcomes, failures = _drive(session, plan, force=force, thaw=thaw)
        except UserError as error:
            logger.error("%s", error)
            return Failed(message=str(error))
        _publish_summary(root, name, plan, outcomes, failures)
        if failures:
            left = [stage.name for stage in plan if stage.name not in outcomes and stage.name not in failures]
            lines = [f"{stage}: {message}" for stage, message in failures.items()]
            return Failed(message="\n".join([*lines, f"not started: {', '.join(left)}"] if left else lines))
        if all(outcome.verdict != "ran" for outcome in outcomes.values()):
            return Completed(name="Cached", message="everything is up to date")
        return Completed(message=counted(list(outcomes.values())))


def revision(root: Path) -> str:
    """The short commit of the checkout, with `-edited` when tracked files differ from it; `no-git` outside git."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        commit = git("rev-parse", "--short=10", "HEAD")
        return f"{commit}-edited" if git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return "no-git"


def _drive(
    session: Session, plan: Sequence[PlannedStage], *, force: bool, thaw: bool
) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Submit each stage when its last upstream is done; a failure stops only what depends on it."""
    known = _known_outputs(plan)
    outcomes: dict[str, Outcome] = {}
    failures: dict[str, str] = {}
    futures: dict[str, Any] = {}
    succeeded: set[str] = set()
    finished: queue.SimpleQueue[str] = queue.SimpleQueue()
    waiting = {stage.name: stage for stage in plan}
    running = 0
    while True:
        for stage in [stage for stage in waiting.values() if succeeded.issuperset(stage.upstream)]:
            del waiting[stage.name]
            task = stage_task(
                session,
                stage,
                force=force,
                thaw=thaw,
                known_outputs=known.get(stage.name),
                on_outcome=lambda outcome: outcomes.__setitem__(outcome.name, outcome),
            )
            # The upstream runs have ended; naming them gives the edges of the run's graph.
            future = task.submit(wait_for=[futures[name] for name in stage.upstream])
            futures[stage.name] = future
            running += 1
            future.add_done_callback(lambda _, name=stage.name: finished.put(name))
        if not running:
            return outcomes, failures
        name = finished.get()
        running -= 1
        future = futures[name]
        future.wait()
        if future.state.is_completed():
            succeeded.add(name)
        else:
            outcomes.pop(name, None)
            message = future.state.message or future.state.name
            failures[name] = message.removeprefix("Task run encountered an exception ")


def _known_outputs(plan: Sequence[PlannedStage]) -> dict[str, Any]:
    try:
        return latest_outputs(stage.name for stage in plan)
    except Exception as error:
        logger.warning("What the server knows of earlier outputs could not be read: %s", error)
        return {}


def _publish_summary(
    root: Path, name: str, plan: Sequence[PlannedStage], outcomes: dict[str, Outcome], failures: dict[str, str]
) -> None:
    from prefect.artifacts import create_markdown_artifact

    try:
        create_markdown_artifact(
            summary_page(root, plan, outcomes, failures),
            key=artifact_key(name, "summary"),
            description=counted(list(outcomes.values())) or "no stage finished",
        )
    except Exception as error:
        logger.warning("The summary was not recorded in Prefect: %s", error)


# One stage as one Prefect task run: Completed when it ran, Cached when it was up to date or restored.


def stage_task(
    session: Session,
    planned: PlannedStage,
    *,
    force: bool,
    thaw: bool,
    known_outputs: list[Row] | None,
    on_outcome: Callable[[Outcome], None],
) -> Any:
    """A Prefect task without arguments that runs the stage through the engine and tells `on_outcome` how it ended.

    Prefect's own caching and result storage are off: what is up to date is decided by DVC's hashes alone.
    """
    from prefect import task
    from prefect.cache_policies import NO_CACHE
    from prefect.states import Completed, Failed, State

    def run_stage() -> State[None]:
        bar, lines = ProgressArtifact(planned.name), log_lines()

        def on_progress(stage: str, done: int, total: int, what: str) -> None:
            lines(stage, done, total, what)
            bar.report(done, total, what)

        try:
            with shards_mapped_by(prefect_mapper(session.root)):
                outcome = session.run(planned.name, force, thaw=thaw, on_progress=on_progress)
        except UserError as error:
            logger.error("%s", error)
            return Failed(message=str(error))
        except Exception:
            logger.exception("%s failed.", planned.name)
            raise
        finally:
            bar.finish()
        on_outcome(outcome)
        publish(session.root, outcome, known_outputs)
        if outcome.verdict == "ran":
            message = f"ran in {outcome.seconds:.1f} s: {outcome.why}"
            logger.info("%s %s", planned.name, message)
            return Completed(message=message)
        logger.info("%s: %s", planned.name, outcome.verdict)
        return Completed(name="Cached", message=outcome.verdict)

    def retry_can_help(_task: Any, _run: Any, state: Any) -> bool:
        return planned.retries > 0 and isinstance(state.data, BaseException) and worth_retrying(state.data)

    return task(
        name=planned.name,
        task_run_name=planned.name,
        description=planned.desc or None,
        tags=set(planned.tags),
        cache_policy=NO_CACHE,
        persist_result=False,
        # Never 0: with no retry left Prefect logs the failure once more, with a traceback even of a user's mistake.
        retries=max(planned.retries, 1),
        retry_delay_seconds=RETRY_DELAYS_SECONDS,
        retry_condition_fn=retry_can_help,
    )(run_stage)
