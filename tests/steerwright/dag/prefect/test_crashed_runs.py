"""Which recorded processes count as dead."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import uuid
from dataclasses import replace

import psutil
import pytest

from steerwright.dag.prefect import crashed_runs
from steerwright.dag.prefect.crashed_runs import RunRecord, recorded


@pytest.fixture
def mine():
    """The record of this process."""
    return RunRecord(str(uuid.UUID(int=1)), socket.gethostname(), os.getpid(), psutil.Process().create_time(), "here")


def test_a_process_lives_until_it_is_gone(mine):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = replace(mine, pid=child.pid, started=psutil.Process(child.pid).create_time())

    assert crashed_runs.is_alive(record)
    child.kill()
    # Killed, but not yet waited for: a zombie computes nothing any more.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not crashed_runs.is_alive(record)
    child.communicate()
    assert not crashed_runs.is_alive(record)


def test_a_number_that_another_process_got_since_is_not_the_same_process(mine):
    assert crashed_runs.is_alive(mine)
    assert not crashed_runs.is_alive(replace(mine, started=mine.started - 3600))


def test_another_machines_process_is_left_alone(mine):
    assert crashed_runs.is_alive(replace(mine, host="elsewhere", pid=2**22 + 1))


def test_a_run_is_recorded_while_it_lasts_and_also_gone_after_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(crashed_runs, "_server_name", lambda: "here")

    with pytest.raises(KeyError), recorded(uuid.UUID(int=5), tmp_path / "runs"):
        [file] = (tmp_path / "runs").iterdir()
        assert json.loads(file.read_text())["pid"] == os.getpid()
        raise KeyError

    assert list((tmp_path / "runs").iterdir()) == []


def test_records_of_live_runs_and_of_other_servers_and_rubbish_need_no_server_to_be_left_alone(
    tmp_path, monkeypatch, mine
):
    monkeypatch.setattr(crashed_runs, "_server_name", lambda: "here")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    lines = {"live": mine, "other": replace(mine, pid=2**22 + 1, api_url="there")}
    for name, record in lines.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(record.__dict__))
    (tmp_path / "rubbish.json").write_text("{")

    assert crashed_runs.reap(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 3
