"""One cluster for all stages that need it at the same time, and what is refused before Dask or Ray is asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from steerwright.dag.context import RunningStage, running
from steerwright.dag.shards import clusters
from steerwright.dag.shards.clusters import Cluster, cluster_for_stage, cluster_of
from steerwright.dag.shards.runners import Runner
from steerwright.errors import UserError


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    happened: list[str] = []

    @contextmanager
    def start(runner: Runner, root: Path) -> Iterator[Cluster]:
        happened.append(f"start {runner.workers}")
        yield Cluster("tcp://127.0.0.1:8786", runner.workers)
        happened.append(f"end {runner.workers}")

    monkeypatch.setattr(clusters, "_dask_cluster", start)
    return happened


def test_stages_at_the_same_time_share_a_cluster_and_the_last_one_ends_it(happened: list[str], tmp_path: Path) -> None:
    two, five = Runner("dask", workers=2), Runner("dask", workers=5)
    with cluster_of(two, tmp_path) as first:
        with cluster_of(two, tmp_path) as second, cluster_of(five, tmp_path) as other:
            assert second is first
            assert other.slots == 5
        assert happened == ["start 2", "start 5", "end 5"]
    assert happened == ["start 2", "start 5", "end 5", "end 2"]
    with cluster_of(two, tmp_path):
        assert happened[-1] == "start 2"


def test_a_stage_keeps_its_cluster_until_it_ends(happened: list[str], tmp_path: Path) -> None:
    stage = RunningStage("s", lambda *_: None, lambda _: {}, lambda: "")
    with running(stage):
        for _ in range(2):
            assert cluster_for_stage(Runner("dask"), tmp_path).slots == 2
        assert happened == ["start 2"]
    assert happened == ["start 2", "end 2"]
    with pytest.raises(RuntimeError, match="inside a stage only"):
        cluster_for_stage(Runner("dask"), tmp_path)


def test_a_cluster_that_does_not_start_is_started_anew_by_the_next_stage(
    happened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(clusters, "_dask_cluster", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError), cluster_of(Runner("dask"), tmp_path):
            pass
    with cluster_of(Runner("dask"), tmp_path):
        assert happened == ["start 2"]


@pytest.mark.parametrize("address", ["127.0.0.1", "tcp://127.0.0.1", "ray://:10001", "auto"])
def test_an_address_without_host_and_port_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="give HOST:PORT"):
        clusters.refuse_silence("Ray cluster", address)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "tcp://127.0.0.1:1", "ray://[::1]:1"])
def test_nobody_at_an_address_is_told_at_once(address: str) -> None:
    with pytest.raises(UserError, match="no Dask scheduler answers at"):
        clusters.refuse_silence("Dask scheduler", address)
