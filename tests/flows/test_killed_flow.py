"""A flow run whose process was killed: the next one says so, gives its slot back, and goes on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from steerwright.dag.prefect import crashed_runs

pytestmark = [pytest.mark.slow, pytest.mark.server]


def test_the_next_flow_sets_a_killed_one_to_crashed_and_is_not_kept_waiting_by_its_gpu_slot(checkout):
    params = checkout.root / "params.yaml"
    quick = params.read_text()
    params.write_text(quick.replace("right:\n    seconds: 0.2", "right:\n    seconds: 60"))
    killed = checkout.command(sys.executable, "-m", "flows.winter")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        # The stage tagged gpu is at work and holds the slot.
        limit = checkout.server.get("/concurrency_limits/tag/gpu") if _has_gpu_limit(checkout) else {}
        if limit.get("active_slots"):
            break
        time.sleep(0.2)
    else:
        pytest.fail("the stage tagged gpu never began")
    time.sleep(1)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    first = checkout.newest_run()
    assert first["state_name"] == "Running"

    params.write_text(quick)
    started = time.monotonic()
    second = checkout.flow()

    assert second["state_name"] == "Completed"
    # The lease of a killed holder lasts a minute.
    assert time.monotonic() - started < 45
    first = checkout.server.get(f"/flow_runs/{first['id']}")
    assert first["state_name"] == "Crashed"
    assert f"process {killed.pid}" in first["state"]["message"]
    assert checkout.server.task_states(first["id"])["winter-right"] == "Crashed"
    # What had finished before the kill was not done again.
    assert checkout.server.task_states(second["id"])["winter-start"] == "Cached"
    assert not list((checkout.root / ".prefect" / "steerwright-runs").glob("*.json"))


def _has_gpu_limit(checkout) -> bool:
    return any(limit["tag"] == "gpu" for limit in checkout.server.post("/concurrency_limits/filter", {}))


def test_all_task_runs_of_a_killed_flow_are_crashed_also_those_beyond_the_servers_page(prefect_server, tmp_path):
    from prefect import flow, task
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Running

    count = 203  # the server's page has 200
    stage, shard = flow(name="many")(lambda: None), task(name="many")(lambda: None)
    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        with get_client(sync_client=True) as client:
            run = client.create_flow_run(stage, state=Running()).id
            for index in range(count):
                client.create_task_run(shard, run, str(index), name=f"many {index}", state=Running())
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        record = crashed_runs.RunRecord(str(run), socket.gethostname(), child.pid, 0.0, prefect_server.api_url)
        (tmp_path / f"{run}.json").write_text(json.dumps(asdict(record)))
        reaped = crashed_runs.reap(tmp_path)
        with get_client(sync_client=True) as client:
            first = client.read_task_runs(flow_run_filter=_only(run))
            found = [*first, *client.read_task_runs(flow_run_filter=_only(run), offset=len(first))]

    assert reaped == [str(run)]
    assert (len(first), len(found)) == (200, count)
    assert {task_run.state_name for task_run in found} == {"Crashed"}


def _only(run):
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    return FlowRunFilter(id=FlowRunFilterId(any_=[run]))
