"""What is tried again where there is no Prefect: the same as there, after the same time."""

from __future__ import annotations

import pytest

from steerwright.dag import local
from steerwright.dag.outcome import Outcome, PlannedStage
from steerwright.errors import UserError


class Session:
    """Fails as it is told, then succeeds."""

    def __init__(self, *errors):
        self.errors, self.attempts = list(errors), 0

    def run(self, name, force, *, thaw, on_progress):
        self.attempts += 1
        if self.errors:
            raise self.errors.pop(0)
        return Outcome(name, "ran", "new", 0.0, [])


@pytest.fixture
def slept(monkeypatch):
    seconds = []
    monkeypatch.setattr(local.time, "sleep", seconds.append)
    return seconds


def _run(session, retries):
    return local.run_plan(session, [PlannedStage("draw", [], retries=retries)])


@pytest.mark.parametrize(
    ("retries", "failures", "waited"), [(1, 1, [5.0]), (2, 2, [5.0, 30.0]), (3, 3, [5.0, 30.0, 30.0])]
)
def test_a_lost_connection_is_tried_again_after_5_then_30_seconds(slept, retries, failures, waited):
    session = Session(*[ConnectionResetError("peer")] * failures)

    assert _run(session, retries)["draw"].verdict == "ran"
    assert slept == waited


def test_no_more_often_than_the_stage_says(slept):
    session = Session(*[ConnectionResetError("peer")] * 3)

    with pytest.raises(ConnectionResetError):
        _run(session, 1)
    assert session.attempts == 2


@pytest.mark.parametrize(
    "error", [ValueError("shape"), FileNotFoundError(2, "gone"), UserError("no such key")], ids=repr
)
def test_what_fails_again_in_the_same_way_is_not_tried_again(slept, error):
    session = Session(error)

    with pytest.raises(type(error)):
        _run(session, 1)
    assert session.attempts == 1
    assert slept == []
