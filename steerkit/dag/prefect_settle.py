"""What became of shards, told to Prefect by the flow where their workers could not tell it.

A worker sends the states of its task runs from a thread of its own. Killed, it takes with it what it had not sent yet,
also of shards that it had finished before.
"""

from __future__ import annotations

import logging
import time
from typing import Any
from uuid import UUID

from steerkit.dag.prefect_pages import every

logger = logging.getLogger(__name__)

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
        logger.warning("What became of some shards was not recorded in Prefect: %s", error)


def _known(client: Any, flow_run_id: UUID) -> dict[UUID, bool]:
    """Whether it is over, for each task run of the flow run that the server knows."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    only = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    runs = every(client.read_task_runs, flow_run_filter=only)
    return {run.id: run.state is not None and run.state.is_final() for run in runs}
