"""How often a progress bar is sent, without a server."""

from __future__ import annotations

import threading
import uuid
from contextvars import ContextVar

import pytest

from steerwright.dag.prefect.progress import ProgressArtifact

RUN: ContextVar[str] = ContextVar("run", default="no run")


@pytest.fixture
def sent(monkeypatch):
    """What reaches Prefect: (percent, text, run in whose context it was sent)."""
    calls = []

    def create(progress, key, description):
        assert key == "winter-images-progress"
        calls.append((progress, description, RUN.get()))
        return uuid.UUID(int=7)

    def update(artifact_id, progress, description):
        assert artifact_id == uuid.UUID(int=7)
        calls.append((progress, description, RUN.get()))

    monkeypatch.setattr("prefect.artifacts.create_progress_artifact", create)
    monkeypatch.setattr("prefect.artifacts.update_progress_artifact", update)
    return calls


def test_the_first_and_the_last_are_sent_at_once_and_the_others_every_two_seconds(sent):
    now = [0.0]
    bar = ProgressArtifact("winter-images", clock=lambda: now[0])

    # Half a second per image: 0.0 first, then 2.0 and 4.0, and the tenth at 4.5 because it is the last.
    for done in range(1, 11):
        bar.report(done, 10, "images")
        now[0] += 0.5
    bar.finish()

    assert [(percent, text) for percent, text, _ in sent] == [
        (10.0, "1 of 10 images"),
        (50.0, "5 of 10 images"),
        (90.0, "9 of 10 images"),
        (100.0, "10 of 10 images"),
    ]


def test_a_stage_that_ends_early_shows_how_far_it_came(sent):
    bar = ProgressArtifact("winter-images", clock=lambda: 0.0)

    bar.report(1, 10, "images")
    bar.report(2, 10, "images")
    bar.finish()
    bar.finish()

    assert [percent for percent, _, _ in sent] == [10.0, 20.0]


def test_a_thread_of_the_stage_reports_into_the_stages_own_run(sent):
    RUN.set("winter-images")
    bar = ProgressArtifact("winter-images")

    thread = threading.Thread(target=bar.report, args=(1, 2, "images"))
    thread.start()
    thread.join()

    assert [run for _, _, run in sent] == ["winter-images"]


def test_a_server_that_is_gone_does_not_fail_the_stage(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionRefusedError

    monkeypatch.setattr("prefect.artifacts.create_progress_artifact", refuse)

    ProgressArtifact("winter-images").report(1, 2, "images")


def test_nothing_to_do_is_all_done(sent):
    ProgressArtifact("winter-images").report(0, 0, "images")

    assert [percent for percent, _, _ in sent] == [100.0]
