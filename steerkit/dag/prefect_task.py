"""One stage as one Prefect task run: Completed when it ran, Cached when it was up to date or restored."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from steerkit.dag.context import log_lines
from steerkit.dag.engine import Session
from steerkit.dag.map_shards import shards_mapped_by
from steerkit.dag.outcome import Outcome, PlannedStage
from steerkit.dag.prefect_artifacts import Row, publish
from steerkit.dag.prefect_progress import ProgressArtifact
from steerkit.dag.prefect_retry import RETRY_DELAYS_SECONDS, worth_retrying
from steerkit.dag.prefect_shards import prefect_mapper
from steerkit.errors import UserError

logger = logging.getLogger(__name__)


def stage_task(
    session: Session,
    planned: PlannedStage,
    *,
    force: bool,
    thaw: bool,
    known_outputs: list[Row] | None,
    on_outcome: Callable[[Outcome], None],
) -> Any:
    """A Prefect task without arguments that runs the stage through the engine and tells `on_outcome` what became of it.

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
