"""Runs that a kill left `Running`: found by the process that they recorded, and set to `Crashed`."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from steerwright.dag.prefect.settings import every

logger = logging.getLogger(__name__)

_UNFINISHED = ("PENDING", "RUNNING", "CANCELLING", "PAUSED")
# create_time() is derived from the boot clock, which may be adjusted by a little.
_SAME_START_SECONDS = 2.0


@dataclass(frozen=True)
class RunRecord:
    """Which process drives a flow run; `started` is that process's start in epoch seconds, so a reused pid shows."""

    flow_run_id: str
    host: str
    pid: int
    started: float
    api_url: str


@contextmanager
def recorded(flow_run_id: UUID, records: Path) -> Iterator[None]:
    """Record in folder `records` that this process drives the run, for as long as the block lasts."""
    import psutil

    record = RunRecord(
        str(flow_run_id), socket.gethostname(), os.getpid(), psutil.Process().create_time(), _server_name()
    )
    records.mkdir(parents=True, exist_ok=True)
    path = records / f"{flow_run_id}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(record)), encoding="utf-8")
    os.replace(partial, path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def reap(records: Path) -> list[str]:
    """Set runs to `Crashed` whose process on this host is gone, with their task runs, and give back their slots.

    Returns the ids of the flow runs that were reaped. Runs of other hosts and of other servers are left alone.
    """
    from prefect.client.orchestration import get_client

    dead = [
        (path, record) for path, record in _read(records) if record.api_url == _server_name() and not is_alive(record)
    ]
    if not dead:
        return []
    reaped = []
    with get_client(sync_client=True) as client:
        for path, record in dead:
            if crash(client, record):
                reaped.append(record.flow_run_id)
            path.unlink(missing_ok=True)
    return reaped


def crash(client: Any, record: RunRecord) -> bool:
    """Crash one run and its unfinished task runs; False when the server does not know it or it had ended."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    run_id = UUID(record.flow_run_id)
    try:
        run = client.read_flow_run(run_id)
    except ObjectNotFound:
        return False
    message = f"The process {record.pid} on {record.host} is gone; finished work is kept, run again to go on."
    crashed = Crashed(message=message)
    for task_run in list(
        every(client.read_task_runs, flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
    ):
        if task_run.state_type is None or task_run.state_type.value not in _UNFINISHED:
            continue
        client.set_task_run_state(task_run.id, crashed, force=True)
        if task_run.tags:
            # A killed holder would keep its concurrency slot until the lease runs out.
            client.decrement_v1_concurrency_slots(
                names=sorted(task_run.tags), task_run_id=task_run.id, occupancy_seconds=0.0
            )
    if run.state_type is None or run.state_type.value not in _UNFINISHED:
        return False
    client.set_flow_run_state(run_id, crashed, force=True)
    logger.warning("Flow run %s had been killed (process %d): now Crashed.", run.name, record.pid)
    return True


def _read(records: Path) -> Iterator[tuple[Path, RunRecord]]:
    for path in sorted(records.glob("*.json")):
        try:
            yield path, RunRecord(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue  # its run ended while we looked
        except (ValueError, TypeError):
            logger.warning("%s is not a record of a run: ignored.", path)


def is_alive(record: RunRecord) -> bool:
    import psutil

    if record.host != socket.gethostname():
        return True  # another machine's process cannot be seen from here
    try:
        process = psutil.Process(record.pid)
        return bool(
            abs(process.create_time() - record.started) < _SAME_START_SECONDS
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False


def _server_name() -> str:
    """The server that knows our runs: its address, or Prefect's home for runs that had a server to themselves."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME

    return PREFECT_API_URL.value() or f"file:{Path(PREFECT_HOME.value()).resolve()}"
