"""The deployment of prefect.yaml, with a worker: health alone says nothing where versions do not fit each other."""

from __future__ import annotations

import shutil
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def worker(checkout):
    """The checkout with the repository's deployments and settings, and a worker that was started in it."""
    for name in ("prefect.yaml", "prefect.toml"):
        shutil.copy(REPOSITORY / name, checkout.root)
    python = [sys.executable, "-m", "prefect"]
    checkout.run(*python, "work-pool", "create", "steerwright", "--type", "process", "--overwrite")
    checkout.run(*python, "deploy", "--all")
    process = checkout.command(*python, "worker", "start", "--pool", "steerwright")
    yield checkout
    process.terminate()
    # Shown by pytest when the test failed.
    sys.stdout.write(process.communicate(timeout=60)[0])


@pytest.mark.slow
@pytest.mark.server
def test_a_scheduled_run_starts_by_itself_and_completes(worker):
    deployment = worker.server.get("/deployments/name/winter/nightly")
    [nightly] = deployment["schedules"]
    assert nightly["active"]
    assert nightly["schedule"]["cron"] == "0 3 * * *"
    # Every pipeline can be started from the UI.
    for flow in ("attention", "latents", "flux", "language", "everything"):
        assert worker.server.get(f"/deployments/name/{flow}/by-hand")["schedules"] == []
    # Nobody waits until three: the same deployment gets a second schedule, due in seconds and then in a day.
    due = datetime.now(UTC) + timedelta(seconds=8)
    soon = {"active": True, "schedule": {"interval": 86400, "anchor_date": due.isoformat()}}
    worker.server.post(f"/deployments/{deployment['id']}/schedules", [soon])

    run = _first_run_that_ended(worker, seconds=120)

    assert run["state_name"] == "Completed", run["state"]["message"]
    assert run["auto_scheduled"] is True
    assert run["name"].startswith(f"winter {worker.revision}")
    assert set(worker.server.task_states(run["id"]).values()) == {"Completed"}
    # It worked in the checkout of the worker.
    assert (worker.root / "artifacts/winter/report/report/contact_sheet.png").exists()
    assert worker.server.artifacts(run["id"])["winter-report-pictures"]["type"] == "markdown"


def _first_run_that_ended(checkout, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        runs = checkout.server.newest_flow_runs(deployments={"name": {"any_": ["nightly"]}})
        for run in runs:
            if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                return run
        time.sleep(1)
    return pytest.fail(f"no scheduled run came to an end; there are {[run['state_name'] for run in runs]}")


def test_the_deployment_names_its_flow_as_a_module_and_no_path_of_this_machine():
    text = (REPOSITORY / "prefect.yaml").read_text()

    assert "entrypoint: flows.winter:winter" in text
    assert str(REPOSITORY) not in text
