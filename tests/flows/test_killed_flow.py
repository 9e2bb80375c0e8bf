"""A flow run whose process was killed: the next one says so, gives its slot back, and goes on."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

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
    assert not list((checkout.root / ".prefect" / "steerkit-runs").glob("*.json"))


def _has_gpu_limit(checkout) -> bool:
    return any(limit["tag"] == "gpu" for limit in checkout.server.post("/concurrency_limits/filter", {}))
