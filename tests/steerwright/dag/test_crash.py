"""What is left after kill -9, and how the next run goes on from there."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.synthetic_project import Checkout


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def kill_group(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def shards_in(checkout: Checkout) -> dict[str, int]:
    """Finished shards in the temporary folder: name -> inode."""
    found = checkout.root.glob("artifacts/.tmp/demo-shards.*/shards/shards/*.json")
    return {path.name: path.stat().st_ino for path in found}


def command(checkout: Checkout, door: str) -> list[str]:
    return ["dvc", "repro"] if door == "repro" else checkout.steerwright("run", "demo", "--no-prefect")


@pytest.mark.parametrize(("killed", "next_door"), [("run", "repro"), ("repro", "run")])
def test_shards_of_a_killed_run_are_kept_by_either_door(
    fresh: Checkout, done: Checkout, killed: str, next_door: str
) -> None:
    # With links the inodes tell which shards are those of the killed run.
    fresh.call(["dvc", "config", "--local", "cache.type", "hardlink,copy"])
    process = fresh.start(command(fresh, killed), SYNTHETIC_PAUSE="0.4")
    wait_for(lambda: len(shards_in(fresh)) >= 2)
    kill_group(process)
    kept = shards_in(fresh)
    assert 2 <= len(kept) < 6
    assert not (fresh.root / "artifacts/demo/shards/shards").exists()
    fresh.call(command(fresh, next_door))
    after = {path.name: path.stat().st_ino for path in (fresh.root / "artifacts/demo/shards/shards").iterdir()}
    assert len(after) == 6
    assert {name: after[name] for name in kept} == kept
    assert fresh.started().count("demo-numbers") == 1
    assert (fresh.root / "dvc.lock").read_bytes() == (done.root / "dvc.lock").read_bytes()


@pytest.mark.parametrize("door", ["run", "repro"])
def test_a_stage_killed_after_its_work_and_before_its_record_is_not_computed_again(
    fresh: Checkout, done: Checkout, door: str
) -> None:
    # What such a kill leaves: the finished outputs aside, and no word of them in dvc.lock.
    fresh.call(["dvc", "repro", "demo-numbers"])
    before = (fresh.root / "dvc.lock").read_bytes()
    stamp = os.stat(fresh.root / "dvc.lock")
    fresh.call(["python", "-m", "tasks", "demo-shards"])
    assert (fresh.root / "dvc.lock").read_bytes() == before
    assert os.stat(fresh.root / "dvc.lock").st_mtime_ns == stamp.st_mtime_ns
    fresh.call(command(fresh, door))
    assert fresh.started().count("demo-shards") == 1
    assert (fresh.root / "dvc.lock").read_bytes() == (done.root / "dvc.lock").read_bytes()


def test_force_by_dvc_computes_again_although_the_finished_folder_is_still_there(done: Checkout) -> None:
    done.repro("--force", "demo-report", "--single-item")
    done.repro("--force", "demo-report", "--single-item")
    assert done.started() == ["demo-report", "demo-report"]


@pytest.mark.parametrize("left", ["", "schema: '2.0'\nstages:\n  demo-numbers:\n    cmd: python -m ta"])
def test_a_torn_lock_is_rebuilt_and_nothing_is_computed(done: Checkout, left: str) -> None:
    whole = (done.root / "dvc.lock").read_bytes()
    (done.root / "dvc.lock").write_text(left)
    said = done.run().stderr
    assert "torn" in said
    assert done.started() == []
    assert sorted((done.root / "dvc.lock").read_bytes().splitlines()) == sorted(whole.splitlines())


def test_after_heal_dvc_goes_on_from_a_torn_lock_and_a_broken_rwlock(done: Checkout) -> None:
    (done.root / "dvc.lock").write_text("")
    (done.root / ".dvc/tmp/rwlock").write_text('{"write": {"/a": {"pid": 1')
    healed = done.call(done.steerwright("repair")).stdout
    assert "dvc.lock was torn" in healed
    assert "rwlock" in healed
    assert done.repro().stdout.count("didn't change, skipping") == 7
    assert done.started() == []
    assert "nothing to mend" in done.call(done.steerwright("repair")).stdout


def test_a_lock_taken_by_a_process_number_that_another_has_now_does_not_block(done: Checkout) -> None:
    entry = {"pid": os.getpid(), "cmd": "stage demo-left thread 1 since 1000.00"}
    path = str(done.root / "artifacts/demo/left/result.json")
    (done.root / ".dvc/tmp/rwlock").write_text(json.dumps({"write": {path: entry}, "read": {}}))
    done.edit("params.yaml", "offset: 1", "offset: 9")
    done.run()
    assert done.started()[0] == "demo-left"


def test_a_stage_whose_dvc_was_killed_alone_ends_and_writes_nothing(fresh: Checkout) -> None:
    process = fresh.start(["dvc", "repro"], SYNTHETIC_PAUSE="0.6")
    wait_for(lambda: len(shards_in(fresh)) >= 1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1.5)
    seen = len(shards_in(fresh))
    time.sleep(1.5)
    assert len(shards_in(fresh)) == seen < 6
    assert not (fresh.root / "artifacts/demo/shards/shards").exists()


def test_stale_temporary_folders_go_and_those_in_use_stay(done: Checkout) -> None:
    home = done.root / "artifacts/.tmp"
    for name in ("demo-left.0123456789abcdef", "no-such-stage.0123456789abcdef"):
        (home / name).mkdir(parents=True)
    (done.root / "params.yaml").touch()
    done.run()
    assert list(home.iterdir()) == []


def test_a_full_disk_is_one_message_and_leaves_the_old_output(done: Checkout) -> None:
    done.edit(
        "tasks/left.py",
        "    pause(10",
        '    result.write_text("half")\n    raise OSError(28, "No space left on device", str(result))\n    pause(10',
    )
    lock = (done.root / "dvc.lock").read_bytes()
    failed = done.run(check=False)
    assert failed.returncode == 2
    assert failed.stderr.count("disk is full") == 1
    assert "Traceback" not in failed.stderr
    assert (done.root / "dvc.lock").read_bytes() == lock
    assert json.loads((done.root / "artifacts/demo/left/result.json").read_text()) == 14.0
    by_dvc = done.repro(check=False)
    assert by_dvc.returncode != 0
    assert "disk is full" in by_dvc.stderr
    assert not Path(done.root / "artifacts/demo/left/result.json").exists()
