"""The answer from sizes and times alone: quick, never wrong."""

import os
import resource
import subprocess
import sys
import time

import pytest

from steerwright.dag import up_to_date
from tests.synthetic_project import Checkout, copy_checkout

HEAVY = ("torch", "dvc", "prefect", "ruamel", "yaml", "pydantic", "typer", "rich", "numpy")


@pytest.fixture(scope="module")
def settled(done_project: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A project whose last run found all up to date; tests leave it as they found it."""
    checkout = copy_checkout(done_project, tmp_path_factory.mktemp("settled") / "project")
    checkout.run()
    return checkout


def test_after_a_complete_run_the_answer_needs_none_of_the_heavy_libraries(settled: Checkout) -> None:
    code = (
        "import sys; from steerwright.cli.main import answer; assert answer(['run', 'demo']);"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    said = settled.call([sys.executable, "-c", code]).stdout.splitlines()
    assert said[0] == "demo: all is up to date, nothing to run."
    assert said[-1] == "[]"


def test_the_quick_answer_takes_a_fraction_of_a_second_of_processor(settled: Checkout) -> None:
    code = "from steerwright.cli.main import answer; assert answer(['status', 'demo'])"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=settled.root, env=settled.env(), check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Wall time would measure what else the machine is doing.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


def test_any_file_that_moves_ends_the_quick_answer(settled: Checkout) -> None:
    for file in ("params.yaml", "dvc.lock", "tasks/pause.py", "artifacts/demo/left/result.json", "models/weights.txt"):
        assert up_to_date.recall(settled.root, "demo") is not None
        stamp = os.stat(settled.root / file)
        os.utime(settled.root / file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
        assert up_to_date.recall(settled.root, "demo") is None, file
        os.utime(settled.root / file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    extra = settled.root / "artifacts/demo/pictures/pictures/more.txt"
    extra.write_text("")
    assert up_to_date.recall(settled.root, "demo") is None
    extra.unlink()


def test_a_touched_file_is_looked_at_and_runs_nothing_and_the_next_answer_is_quick(settled: Checkout) -> None:
    settled.forget()
    (settled.root / "params.yaml").touch()
    assert up_to_date.recall(settled.root, "demo") is None
    settled.call(settled.steerwright("status", "demo"))
    assert settled.started() == []
    assert up_to_date.recall(settled.root, "demo") is not None


def test_status_says_what_would_run_and_why_and_runs_nothing(done: Checkout) -> None:
    done.edit("params.yaml", "offset: 1", "offset: 5")
    said = done.call(done.steerwright("status", "demo")).stdout
    assert "demo.left.offset in params.yaml is modified" in said
    rows = {line.split()[0]: line for line in said.splitlines()[1:] if line.strip()}
    assert "would run" in rows["demo-left"]
    assert "may run" in rows["demo-pictures"]
    assert "up to date" in rows["demo-right"]
    assert done.started() == []


def test_an_input_edited_during_the_run_is_not_taken_for_what_was_read(done: Checkout) -> None:
    done.edit("params.yaml", "offset: 1", "offset: 5")
    process = done.start(done.steerwright("run", "demo", "--no-prefect"), SYNTHETIC_PAUSE="0.15")
    while "demo-left" not in done.started():
        time.sleep(0.02)
        assert process.poll() is None
    done.edit("params.yaml", "offset: 5", "offset: 6")
    assert process.wait(timeout=60) == 0
    assert up_to_date.recall(done.root, "demo") is None
    done.forget()
    done.run()
    assert "demo-left" in done.started()
