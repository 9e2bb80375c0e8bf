"""Run a plan in this process, without a Prefect server: independent branches side by side, in threads."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from steerwright.dag.context import ProgressSink
from steerwright.dag.engine import Session
from steerwright.dag.outcome import Outcome, PlannedStage
from steerwright.dag.prefect.retry import RETRY_DELAYS_SECONDS, worth_retrying

log = logging.getLogger(__name__)

GPU = "gpu"


def run_plan(
    session: Session,
    plan: list[PlannedStage],
    *,
    force: bool = False,
    thaw: bool = False,
    workers: int | None = None,
    on_progress: ProgressSink | None = None,
    on_start: Callable[[PlannedStage], None] = lambda _: None,
    on_end: Callable[[Outcome], None] = lambda _: None,
) -> dict[str, Outcome]:
    """Run each stage as soon as those before it are done; at most one stage tagged `gpu` at a time.

    After a failure no further stage starts, those under way end, and the first failure is raised.
    """
    waiting = {stage.name: stage for stage in plan}
    needed = {stage.name: set(stage.upstream) for stage in plan}
    outcomes: dict[str, Outcome] = {}
    running: dict[Future[Outcome], PlannedStage] = {}
    failure: BaseException | None = None

    def work(stage: PlannedStage) -> Outcome:
        for attempt in range(stage.retries + 1):
            try:
                return session.run(stage.name, force, thaw=thaw, on_progress=on_progress)
            except Exception as error:
                if attempt == stage.retries or not worth_retrying(error):
                    raise
                seconds = RETRY_DELAYS_SECONDS[min(attempt, len(RETRY_DELAYS_SECONDS) - 1)]
                log.warning(
                    "%s: %s; trying again in %g seconds (%d of %d)",
                    stage.name, error, seconds, attempt + 1, stage.retries,
                )  # fmt: skip
                time.sleep(seconds)
        raise AssertionError("unreachable")

    pool = ThreadPoolExecutor(max_workers=workers or max(2, os.cpu_count() or 1), thread_name_prefix="stage")
    try:
        while waiting or running:
            for stage in [] if failure else list(waiting.values()):
                busy = GPU in stage.tags and any(GPU in other.tags for other in running.values())
                if not needed[stage.name] - outcomes.keys() and not busy:
                    del waiting[stage.name]
                    on_start(stage)
                    running[pool.submit(work, stage)] = stage
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                stage = running.pop(future)
                error = future.exception()
                if error is not None:
                    if failure is not None:
                        log.error("%s failed too: %s", stage.name, error)
                    failure = failure or error
                    continue
                outcomes[stage.name] = future.result()
                on_end(outcomes[stage.name])
    finally:
        # Nothing runs here any more, unless somebody interrupted us: a stage cannot be stopped, so do not wait for it.
        pool.shutdown(wait=False, cancel_futures=True)
    if failure is not None:
        raise failure
    return outcomes
