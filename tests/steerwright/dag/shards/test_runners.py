"""Shards on threads, processes, Dask and Ray, without Prefect: equal results, and a killed worker costs its shard."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.synthetic_project import Checkout, kill_a_worker

STAGE = "demo-shards"


def log_of(checkout: Checkout) -> Path:
    log = checkout.root.parent / "shards.log"
    checkout.environment["SYNTHETIC_SHARD_LOG"] = str(log)
    return log


def noted(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()]


def shards_of(checkout: Checkout) -> dict[str, str]:
    return {path: md5 for path, md5 in checkout.hashes().items() if "/shards/" in path}


def test_threads_make_the_same_shards_in_the_process_of_the_run(fresh: Checkout, done: Checkout) -> None:
    log = log_of(fresh)
    fresh.call(fresh.steerwright("run", STAGE, "--no-prefect", "--runner", "threads"), SYNTHETIC_PAUSE="0.2")
    assert shards_of(fresh) == shards_of(done)
    assert len({pid for _, _, pid in noted(log)}) == 1
    # Two at a time: the second begins before the first is made.
    assert [what for what, _, _ in noted(log)[:2]] == ["began", "began"]


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_a_killed_worker_costs_only_its_shard(fresh: Checkout, done: Checkout, runner: str) -> None:
    pytest.importorskip(f"prefect_{runner}")
    log = log_of(fresh)
    process = fresh.start(fresh.steerwright("run", STAGE, "--no-prefect", "--runner", runner), SYNTHETIC_PAUSE="0.7")
    killed = kill_a_worker(log, after=2, unless_ended=process)
    assert process.wait(120) == 0
    assert shards_of(fresh) == shards_of(done)
    began = Counter(shard for what, shard, _ in noted(log) if what == "began")
    [lost] = [shard for what, shard, pid in noted(log) if int(pid) == killed][-1:]
    assert began == Counter({shard: 2 if shard == lost else 1 for shard in began})
    assert len(began) == 6
    assert len({pid for _, _, pid in noted(log)}) in (2, 3)


@pytest.mark.slow
def test_a_killed_process_costs_what_was_under_way(fresh: Checkout, done: Checkout) -> None:
    log = log_of(fresh)
    process = fresh.start(
        fresh.steerwright("run", STAGE, "--no-prefect", "--runner", "processes"), SYNTHETIC_PAUSE="0.7"
    )
    kill_a_worker(log, after=2, unless_ended=process)
    assert process.wait(120) == 0
    assert shards_of(fresh) == shards_of(done)
    began = Counter(shard for what, shard, _ in noted(log) if what == "began")
    # Two processes: the shard of the one that was killed, and at most that of the other.
    assert len(began) == 6
    assert max(began.values()) == 2
    assert 7 <= sum(began.values()) <= 8
    assert process.pid not in {int(pid) for _, _, pid in noted(log)}


@pytest.mark.slow
def test_a_shard_at_which_every_process_dies_ends_the_run_in_one_line(fresh: Checkout) -> None:
    log = log_of(fresh)
    command = fresh.steerwright("run", STAGE, "--no-prefect", "--runner", "processes", "--runner-workers", "1")
    refused = fresh.call(command, check=False, SYNTHETIC_FAIL="8 SIGKILL")
    assert refused.returncode == 2
    assert "died at it; if memory ran out, have fewer at a time: --runner-workers 1" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert Counter(shard for what, shard, _ in noted(log) if what == "began")["8"] == 3


@pytest.mark.slow
def test_processes_end_with_the_run_that_is_killed(fresh: Checkout) -> None:
    log = log_of(fresh)
    process = fresh.start(
        fresh.steerwright("run", STAGE, "--no-prefect", "--runner", "processes"), SYNTHETIC_PAUSE="60"
    )
    workers = until(lambda: {int(pid) for _, _, pid in noted(log)} if log.exists() else set(), 2)
    process.kill()
    process.wait(30)
    assert until(lambda: {pid for pid in workers if not psutil.pid_exists(pid)}, 2) == workers


def until(found: Callable[[], set[int]], count: int, seconds: float = 60) -> set[int]:
    """What `found` gives once it is `count` of them."""
    for _ in range(int(10 * seconds)):
        if len(known := found()) == count:
            return known
        time.sleep(0.1)
    raise AssertionError(f"{found()} after {seconds} s")


def test_a_runner_that_does_not_exist_is_one_line(fresh: Checkout) -> None:
    refused = fresh.run("--runner", "spark", check=False)
    assert refused.returncode == 2
    assert "there is no runner 'spark'; known are threads, processes, dask, ray" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert fresh.started() == []


@pytest.mark.slow
@pytest.mark.parametrize(("runner", "address"), [("dask", "tcp://127.0.0.1:1"), ("ray", "127.0.0.1:1")])
def test_a_cluster_that_does_not_answer_is_one_line(fresh: Checkout, runner: str, address: str) -> None:
    pytest.importorskip(f"prefect_{runner}")
    fresh.repro("demo-numbers")
    refused = fresh.run("--runner", runner, "--runner-address", address, check=False)
    assert refused.returncode == 2
    assert f"answers at {address}" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_a_cluster_that_is_there_is_used_and_refuses_once_the_code_was_edited(fresh: Checkout, done: Checkout) -> None:
    distributed = pytest.importorskip("distributed")
    log = fresh.root.parent / "shards.log"
    # Only the cluster's worker knows where to note its work.
    worker = {"n_workers": 1, "threads_per_worker": 1, "env": {"SYNTHETIC_SHARD_LOG": str(log)}}
    with distributed.LocalCluster(**worker, host="127.0.0.1", dashboard_address=None) as cluster:
        command = fresh.steerwright("run", STAGE, "--no-prefect", "--runner", "dask")
        command += ["--runner-address", cluster.scheduler_address]
        fresh.call(command)
        assert Counter(what for what, _, _ in noted(log)) == {"began": 6, "made": 6}
        fresh.edit("tasks/make_shards.py", "def make_shards(", "# edited\n\n\ndef make_shards(")
        refused = fresh.call(command, check=False)
    assert refused.returncode == 2
    assert "tasks/make_shards.py was edited since a worker" in refused.stderr
    assert "restart the workers" in refused.stderr
    assert len(noted(log)) == 12
