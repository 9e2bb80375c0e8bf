"""A server that hands out two rows at a time hides none of them."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from prefect.states import Completed, Running

from steerwright.dag.prefect import artifacts as prefect_artifacts
from steerwright.dag.prefect import crashed_runs
from steerwright.dag.prefect import shards as prefect_settle
from steerwright.dag.prefect.settings import every

PAGE = 2


class Client:
    """As much of a Prefect client as reads rows and sets states, with pages of two."""

    def __init__(self, task_runs=(), artifacts=()):
        self.task_runs, self.artifacts, self.told = list(task_runs), list(artifacts), []

    def read_task_runs(self, *, flow_run_filter, limit=None, offset=0):
        assert limit is None, "a server refuses more than its own page"
        return self.task_runs[offset : offset + PAGE]

    def read_latest_artifacts(self, *, artifact_filter, limit=None, offset=0):
        assert limit is None
        return self.artifacts[offset : offset + PAGE]

    def read_flow_run(self, run):
        return SimpleNamespace(id=run, name="winter", state_type=Running().type)

    def set_task_run_state(self, run, state, force):
        assert force
        self.told.append((run, state.type.value))

    def set_flow_run_state(self, run, state, force):
        assert force
        self.told.append((run, state.type.value))


@pytest.fixture
def served(monkeypatch):
    """Make every get_client() give this client."""

    def serve(client):
        @contextmanager
        def get_client(**_):
            yield client

        monkeypatch.setattr("prefect.client.orchestration.get_client", get_client)
        return client

    return serve


def _run(number, state):
    return SimpleNamespace(id=uuid.UUID(int=number), state=state, state_type=state.type, tags=[])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_every_row_comes_once_and_in_order(count):
    rows = list(range(count))

    assert list(every(lambda offset: rows[offset : offset + PAGE])) == rows


def test_a_killed_flows_task_runs_are_all_crashed(served, monkeypatch, tmp_path):
    monkeypatch.setattr(crashed_runs, "_server_name", lambda: "here")
    client = served(Client([_run(number, Running()) for number in range(1, 6)]))
    record = crashed_runs.RunRecord(str(uuid.UUID(int=9)), "host", 1, 0.0, "here")

    assert crashed_runs.crash(client, record)
    assert client.told == [(uuid.UUID(int=number), "CRASHED") for number in (1, 2, 3, 4, 5, 9)]


def test_shards_that_the_server_knows_to_be_over_are_not_told_again(served):
    client = served(Client([_run(number, Completed()) for number in range(1, 6)]))

    prefect_settle.settle(
        uuid.UUID(int=9), None, {uuid.UUID(int=number): ("shard", Completed()) for number in range(1, 6)}
    )

    assert client.told == []


def test_what_the_server_last_got_of_every_stage_is_known(served):
    stages = [f"winter-{number}" for number in range(5)]
    served(Client(artifacts=[SimpleNamespace(key=f"{stage}-outputs", data='[{"path": "a"}]') for stage in stages]))

    assert prefect_artifacts.latest_outputs(stages) == {stage: [{"path": "a"}] for stage in stages}
