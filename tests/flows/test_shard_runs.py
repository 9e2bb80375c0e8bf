"""The shards of a stage in Prefect: task runs of a sub-run, on each kind of runner, and what a killed worker costs."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from steerwright.dag.prefect import shards as prefect_settle
from tests.synthetic_project import Checkout, copy_checkout, kill_a_worker, make_checkout, shard_runs

pytestmark = [pytest.mark.slow, pytest.mark.server]

STAGE = "demo-shards"


@dataclass(frozen=True)
class Sharded:
    """The synthetic project in a folder of its own, known to a Prefect server."""

    checkout: Checkout
    api: str

    @property
    def log(self) -> Path:
        return self.checkout.root.parent / "shards.log"

    def noted(self) -> list[list[str]]:
        """What the work noted, in order: (began or made, shard, process)."""
        return [line.split() for line in self.log.read_text().splitlines()]

    def flow(self, **environment: str) -> subprocess.Popen[str]:
        """`python -m flows.demo demo-shards`, under way."""
        return subprocess.Popen(
            [sys.executable, "-m", "flows.demo", STAGE], cwd=self.checkout.root, text=True,
            env=self.checkout.env(SYNTHETIC_SHARD_LOG=str(self.log), **environment),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def shard_runs(self) -> dict[str, dict[str, Any]]:
        """Task runs of the shards in the newest run of the flow, by name."""
        return {run["name"]: run for run in shard_runs(self.api, self.checkout)}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, dict[str, str]]:
    """The project before anything ran, and its hashes after a run in one process without Prefect."""
    pristine = make_checkout(tmp_path_factory.mktemp("pristine") / "project")
    done = copy_checkout(pristine, tmp_path_factory.mktemp("done") / "project")
    done.call(done.steerwright("run", STAGE, "--no-prefect"))
    return pristine, done.hashes()


@pytest.fixture
def sharded(expected, prefect_server, tmp_path: Path) -> Sharded:
    checkout = copy_checkout(expected[0], tmp_path / "project")
    # A commit of its own, because runs are found by it.
    (checkout.root / "which.txt").write_text(str(tmp_path))
    checkout.git("add", "-A")
    checkout.git("commit", "-q", "-m", "which")
    checkout.environment |= {"PREFECT_API_URL": prefect_server.api_url, "DO_NOT_TRACK": "1"}
    return Sharded(checkout, prefect_server.api_url)


@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_a_killed_worker_costs_only_its_shard_and_every_shard_is_a_task_run(sharded, expected, runner):
    pytest.importorskip(f"prefect_{runner}")
    process = sharded.flow(STEERWRIGHT_RUNNER=runner, SYNTHETIC_PAUSE="1")
    killed = kill_a_worker(sharded.log, after=2, unless_ended=process)
    output, _ = process.communicate(timeout=240)

    assert process.returncode == 0, output
    assert sharded.checkout.hashes() == expected[1]
    began = Counter(shard for what, shard, _ in sharded.noted() if what == "began")
    made = Counter(shard for what, shard, _ in sharded.noted() if what == "made")
    [lost] = {shard for what, shard, pid in sharded.noted() if what == "began" and int(pid) == killed} - {
        shard for what, shard, pid in sharded.noted() if what == "made" and int(pid) == killed
    }
    assert began == Counter(dict.fromkeys(made, 1) | {lost: 2})
    assert made == dict.fromkeys(made, 1)
    assert len(made) == 6
    # None of them in the process of the flow, which has DVC's locks.
    processes = {int(pid) for _, _, pid in sharded.noted()}
    assert process.pid not in processes
    assert len(processes) >= 2
    runs = sharded.shard_runs()
    assert set(runs) == {f"{STAGE} {number} of 6" for number in range(1, 7)}
    assert {run["state_name"] for run in runs.values()} == {"Completed"}


def test_processes_of_this_machine_compute_shards_that_are_task_runs(sharded, expected):
    flow = sharded.flow(STEERWRIGHT_RUNNER="processes", SYNTHETIC_PAUSE="0.5")
    output, _ = flow.communicate(timeout=120)

    assert flow.returncode == 0, output
    assert sharded.checkout.hashes() == expected[1]
    processes = Counter(int(pid) for what, _, pid in sharded.noted() if what == "made")
    assert flow.pid not in processes
    assert len(processes) == 2
    assert sum(processes.values()) == 6
    runs = sharded.shard_runs()
    assert set(runs) == {f"{STAGE} {number} of 6" for number in range(1, 7)}
    assert {run["state_name"] for run in runs.values()} == {"Completed"}


def test_without_a_runner_shards_are_task_runs_too_and_those_that_were_there_are_cached(sharded, expected):
    # A run that ends in the middle: four shards stay in the temporary folder.
    failed = sharded.flow(SYNTHETIC_FAIL="8 UserError")
    output, _ = failed.communicate(timeout=120)
    assert failed.returncode == 1
    assert "shard 8 cannot be; choose another" in output
    assert "Traceback" not in output
    states = {name: run["state_name"] for name, run in sharded.shard_runs().items()}
    assert states == {f"{STAGE} {n} of 6": "Completed" for n in (1, 2, 3, 4)} | {f"{STAGE} 5 of 6": "Failed"}

    again = sharded.flow(SYNTHETIC_FAIL="9 ConnectionResetError")
    output, _ = again.communicate(timeout=120)

    assert again.returncode == 0, output
    runs = sharded.shard_runs()
    states = {name: run["state_name"] for name, run in runs.items()}
    assert states == {f"{STAGE} {n} of 6": "Cached" for n in (1, 2, 3, 4)} | {
        f"{STAGE} {n} of 6": "Completed" for n in (5, 6)
    }
    # The line was down once; nobody had to start the stage again for it.
    assert {name: run["run_count"] for name, run in runs.items()}[f"{STAGE} 6 of 6"] == 2
    assert sharded.checkout.hashes() == expected[1]
    assert {int(pid) for _, _, pid in sharded.noted()} == {failed.pid, again.pid}


def test_what_a_killed_worker_did_not_get_to_tell_prefect_is_told_by_the_flow(prefect_server, monkeypatch):
    from prefect import flow, task
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Completed, Failed, Running

    monkeypatch.setattr(prefect_settle, "PATIENCE_SECONDS", 0.0)
    stage, shard = flow(name="settle")(lambda: None), task(name="settle")(lambda: None)
    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}), get_client(sync_client=True) as client:
        run = client.create_flow_run(stage).id
        open_one = client.create_task_run(shard, run, "a", name="settle 1 of 3", state=Running()).id
        over = client.create_task_run(shard, run, "b", name="settle 2 of 3", state=Failed(message="its own")).id
        # The third was never heard of.
        ended = {
            open_one: ("settle 1 of 3", Completed(data="made")),
            over: ("settle 2 of 3", Completed(data="made")),
            uuid4(): ("settle 3 of 3", Completed(name="Cached", message="was there already", data="kept")),
        }
        prefect_settle.settle(run, shard, ended)

    assert prefect_server.task_states(str(run)) == {
        "settle 1 of 3": "Completed",
        "settle 2 of 3": "Failed",
        "settle 3 of 3": "Cached",
    }
