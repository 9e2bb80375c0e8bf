"""`dvc repro` and the engine leave the same records, and each believes the other."""

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.synthetic_project import Checkout

STAGES = ["demo-numbers", "demo-shards", "demo-left", "demo-right", "demo-pictures", "demo-report"]


def verdicts(text: str) -> dict[str, str]:
    """Stage -> verdict from the table that `steerwright run` prints."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[1] in ("ran", "restored", "unchanged"):
            found[words[0]] = words[1]
    return found


def test_what_dvc_did_the_engine_finds_done_and_writes_the_same_lock_bytes(fresh: Checkout, done: Checkout) -> None:
    fresh.repro()
    assert sorted(fresh.started()) == sorted(STAGES)
    shown = verdicts(fresh.run().stdout)
    assert set(shown.values()) == {"unchanged"}
    assert set(shown) == {*STAGES, "base-weights"}
    assert (fresh.root / "dvc.lock").read_bytes() == (done.root / "dvc.lock").read_bytes()


def test_what_the_engine_did_dvc_finds_done(done: Checkout) -> None:
    said = done.repro().stdout
    assert said.count("didn't change, skipping") == len(STAGES) + 1
    assert done.started() == []
    assert done.dvc_status() == {}


@pytest.mark.parametrize("door", ["run", "repro"])
def test_a_changed_key_runs_its_readers_and_reverting_it_restores(done: Checkout, door: str) -> None:
    before = (done.root / "dvc.lock").read_bytes()
    done.edit("params.yaml", "offset: 1", "offset: 5")
    getattr(done, door)()
    assert done.started() == ["demo-left", "demo-pictures", "demo-report"]
    done.forget()
    done.edit("params.yaml", "offset: 5", "offset: 1")
    getattr(done, door)()
    assert done.started() == []
    assert (done.root / "dvc.lock").read_bytes() == before


@pytest.mark.parametrize("door", ["run", "repro"])
def test_editing_an_estimator_runs_exactly_the_stage_that_imports_it(done: Checkout, door: str) -> None:
    done.edit("tasks/estimators/mean.py", "return sum", "# a comment: the result stays\n    return sum")
    done.edit("tasks/unrelated.py", "1", "2")
    getattr(done, door)()
    # The mean is what it was, so that nothing after it has anything to do.
    assert done.started() == ["demo-left"]


def test_a_hand_written_stage_is_kept_and_run_by_the_engine(done: Checkout) -> None:
    with (done.root / "dvc.yaml").open("a") as file:
        file.write(
            "  demo-lines:  # counted by hand\n    cmd: cat artifacts/demo/report/report.html > lines.txt\n"
            "    deps:\n      - artifacts/demo/report/report.html\n    outs:\n      - lines.txt\n"
        )
    assert done.call(done.steerwright("dag", "--write")).returncode == 0
    assert "counted by hand" in (done.root / "dvc.yaml").read_text()
    assert verdicts(done.run().stdout)["demo-lines"] == "ran"
    assert (done.root / "lines.txt").read_text().startswith("<html>")
    assert "demo-lines' didn't change" in done.repro().stdout


def test_a_fresh_clone_has_nothing_to_do_for_a_frozen_stage_in_git(done: Checkout, tmp_path: Path) -> None:
    done.call(["git", "clone", "-q", ".", str(tmp_path / "clone")])
    clone = Checkout(tmp_path / "clone")
    assert "base-weights' didn't change" in clone.repro("base-weights").stdout
    assert verdicts(clone.call(clone.steerwright("run", "base", "--no-prefect")).stdout) == {
        "base-weights": "unchanged"
    }
    assert clone.started() == []


def test_two_runs_at_once_compute_each_stage_once(fresh: Checkout) -> None:
    command = fresh.steerwright("run", "demo", "--no-prefect")
    both = [fresh.start(command, SYNTHETIC_PAUSE="0.05") for _ in range(2)]
    assert [one.wait(timeout=120) for one in both] == [0, 0]
    assert sorted(fresh.started()) == sorted(STAGES)


def test_only_and_force_run_one_stage_even_a_frozen_one(done: Checkout) -> None:
    done.run("--only", "demo-left", "--force")
    done.run("--only", "base-weights", "--force")
    assert done.started() == ["demo-left", "base-weights"]
    done.forget()
    done.run("--force", RUN_LABEL="again")
    assert sorted(done.started()) == sorted(STAGES)
    # Nothing of the last time is taken over.
    shards = done.root / "artifacts/demo/shards/shards"
    assert all('"again"' in shard.read_text() for shard in shards.iterdir())


def test_deleted_outputs_come_back_from_the_cache_without_any_memory_of_runs(done: Checkout) -> None:
    shutil.rmtree(done.root / "artifacts")
    shutil.rmtree(done.root / ".dvc/cache/runs")
    # What is in git alone is git's to bring back.
    done.git("checkout", "-q", "--", "artifacts/demo/report/metrics.json")
    assert verdicts(done.run().stdout)["demo-pictures"] == "restored"
    assert done.started() == []
    assert len(list((done.root / "artifacts/demo/pictures/pictures").iterdir())) == 8


def test_a_restored_file_of_git_is_not_the_cache_itself(done: Checkout) -> None:
    done.edit("params.yaml", "count: 8", "count: 7")
    done.run()
    done.edit("params.yaml", "count: 7", "count: 8")
    assert verdicts(done.run().stdout)["demo-report"] == "restored"
    metrics = done.root / "artifacts/demo/report/metrics.json"
    assert json.loads(metrics.read_text()) == {"pictures": 8}
    assert metrics.stat().st_nlink == 1
    assert metrics.stat().st_mode & 0o200


def test_the_engine_waits_for_a_running_dvc_and_finds_its_work_done(fresh: Checkout) -> None:
    dvc = fresh.start(["dvc", "repro"], SYNTHETIC_PAUSE="0.2")
    while "demo-shards" not in fresh.started():
        time.sleep(0.02)
        assert dvc.poll() is None
    fresh.run()
    # The engine may be quicker with what comes next; DVC then says "busy" and does not wait.
    dvc.wait(timeout=120)
    assert sorted(fresh.started()) == sorted(STAGES)
