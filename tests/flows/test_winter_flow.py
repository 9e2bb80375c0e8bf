"""The winter flow against a real server: what Prefect shows, and what both commands know of each other."""

from __future__ import annotations

import json
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.server]

STAGES = {"winter-start", "winter-left", "winter-right", "winter-report"}


def test_a_flow_shows_its_stages_and_what_the_engine_did_dvc_finds_up_to_date_and_the_reverse(checkout):
    run = checkout.flow()

    assert run["state_name"] == "Completed"
    assert run["name"] == f"winter {checkout.revision}"
    states = checkout.server.task_states(run["id"])
    assert states == dict.fromkeys(STAGES, "Completed")

    # Everything that the issue wants to see in the UI.
    artifacts = checkout.server.artifacts(run["id"])
    assert artifacts["winter-left-progress"]["data"] == 100.0
    assert artifacts["winter-left-progress"]["description"] == "10 of 10 tenths"
    [row] = [row for row in json.loads(artifacts["winter-left-outputs"]["data"]) if row["path"].endswith("left.txt")]
    text = (checkout.root / "artifacts/winter/left/left.txt").read_bytes()
    assert row["bytes"] == len(text)
    assert len(row["hash"]) == 32
    assert json.loads(artifacts["winter-right-metrics"]["data"]) == [{"metric": "right.seconds", "value": 0.2}]
    assert "](data:image/png;base64," in artifacts["winter-report-pictures"]["data"]
    assert "**ran**" in artifacts["winter-summary"]["data"]
    logs = checkout.server.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})
    begins = [line for line in logs if line["message"] == "left begins"]
    assert len(begins) == 1
    assert begins[0]["task_run_id"] is not None

    # `dvc repro` has nothing to do.
    repro = checkout.run(sys.executable, "-m", "dvc", "repro")
    assert repro.count("Running stage") == 1 and "Running stage 'environment'" in repro

    # dvc repro does the work; the flow finds it done.
    params = checkout.root / "params.yaml"
    params.write_text(params.read_text().replace("left:\n    seconds: 0.2", "left:\n    seconds: 0.3"))
    repro = checkout.run(sys.executable, "-m", "dvc", "repro")
    assert "Running stage 'winter-left'" in repro
    assert "Running stage 'winter-right'" not in repro
    run = checkout.flow()
    assert run["state_name"] == "Cached"
    assert run["name"] == f"winter {checkout.revision}-edited"
    assert checkout.server.task_states(run["id"]) == dict.fromkeys(STAGES, "Cached")
    # The server had not seen what dvc made: it gets it once.
    artifacts = checkout.server.artifacts(run["id"])
    assert json.loads(artifacts["winter-left-metrics"]["data"]) == [{"metric": "left.seconds", "value": 0.3}]
    assert "winter-right-metrics" not in artifacts


def test_a_users_mistake_is_one_line_and_final_while_a_lost_connection_is_tried_again(checkout):
    left = checkout.root / "tasks" / "left.py"
    left.write_text(
        left.read_text().replace(
            'log.info("left begins")',
            'from steerwright.errors import UserError\n    raise UserError("winter.left.seconds is odd; make it even")',
        )
    )

    right = checkout.root / "tasks" / "right.py"
    right.write_text(
        right.read_text().replace(
            'log.info("right begins")',
            'mark = Path(".prefect/lost")\n    if not mark.exists():\n        mark.touch()\n'
            '        raise ConnectionResetError("the line is down")',
        )
    )

    output = checkout.run(sys.executable, "-m", "flows.winter", ok=False)

    # One traceback, and it is not the mistake's.
    assert output.count("Traceback") == 1
    assert "the line is down" in output.partition("Traceback")[2]
    run = checkout.newest_run()
    assert run["state_name"] == "Failed"
    assert "winter-left: winter.left.seconds is odd; make it even" in run["state"]["message"]
    assert "not started: winter-report" in run["state"]["message"]
    # retries=1 in the declaration, and yet it ran once.
    assert output.count("winter.left.seconds is odd; make it even") <= 4
    assert checkout.server.task_states(run["id"]) == {
        "winter-start": "Completed",
        "winter-left": "Failed",
        "winter-right": "Completed",
    }

    output = checkout.run(sys.executable, "-m", "flows.winter", "winter-lefd", ok=False)
    assert "there is no stage or pipeline 'winter-lefd'; did you mean winter-left" in output
    assert "Traceback" not in output


def test_two_flows_at_once_do_each_stage_once(checkout):
    # A file per start of the stage, written where the engine does not look.
    left = checkout.root / "tasks" / "left.py"
    left.write_text(
        left.read_text().replace(
            'log.info("left begins")',
            'log.info("left begins")\n    (Path(".prefect") / f"began-{time.time_ns()}").write_text("")',
        )
    )
    both = [checkout.command(sys.executable, "-m", "flows.winter") for _ in range(2)]
    outputs = [process.communicate(timeout=180)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0], "\n".join(outputs)
    assert len(list((checkout.root / ".prefect").glob("began-*"))) == 1
    runs = checkout.server.newest_flow_runs(flow_runs={"name": {"like_": checkout.revision}})
    assert len(runs) == 2
    states = [checkout.server.task_states(run["id"]) for run in runs]
    for stage in STAGES:
        assert sorted(state[stage] for state in states) == ["Cached", "Completed"]
    # The engine's own stage always runs; no other is named.
    said = checkout.run(sys.executable, "-m", "dvc", "status")
    assert [line for line in said.splitlines() if line.endswith(":")] == ["environment:"]
