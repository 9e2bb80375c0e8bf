"""Shards in one process, and the rules that hold wherever they run."""

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from steerwright.dag import map_shards
from steerwright.dag.code import code_closure, digest_of_files
from steerwright.dag.context import RunningStage, running
from steerwright.dag.shards import runners
from steerwright.dag.shards.map import drive, shards_mapped_by
from steerwright.dag.shards.runners import Runner
from steerwright.dag.shards.workers import ShardCall, pack, run_shard
from steerwright.errors import UserError

WORK = """def twice(number):
    return 2 * number
"""


def result(_index: int, future: "Future[int]") -> int:
    return future.result()


@pytest.fixture(autouse=True)
def no_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (runners.KIND, runners.ADDRESS, runners.WORKERS):
        # Set and then removed, so that what a test writes there goes again at its end.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_without_a_runner_shards_are_computed_in_order_and_each_is_reported() -> None:
    begun: list[int] = []
    reported: list[tuple[int, list[int]]] = []

    def work(job: int) -> int:
        begun.append(job)
        return job * job

    stage = RunningStage(
        "s", lambda _name, done, total, what: reported.append((done, [*begun])), lambda _: {}, lambda: ""
    )
    with running(stage):
        assert map_shards(work, [3, 1, 2]) == [9, 1, 4]
    assert reported == [(1, [3]), (2, [3, 1]), (3, [3, 1, 2])]
    assert map_shards(work, []) == []


def test_results_come_in_the_order_of_the_jobs_whatever_ends_first() -> None:
    futures: list[Future[int]] = []

    def submit(index: int) -> "Future[int]":
        futures.append(Future())
        if len(futures) == 3:
            for place in (2, 0, 1):
                futures[place].set_result(10 * place)
        return futures[-1]

    done: list[int] = []
    assert drive(3, 3, submit, result, done.append) == [0, 10, 20]
    assert done == [1, 2, 3]


def test_no_more_shards_are_in_flight_than_asked() -> None:
    under_way, most = 0, 0

    def submit(index: int) -> "Future[int]":
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        return pool.submit(lambda: index)

    def take(_index: int, future: "Future[int]") -> int:
        nonlocal under_way
        under_way -= 1
        return future.result()

    with ThreadPoolExecutor(4) as pool:
        assert drive(20, 3, submit, take, lambda _: None) == list(range(20))
    assert most == 3


def test_after_a_failure_no_further_shard_begins_and_the_first_failure_is_raised() -> None:
    submitted: list[int] = []

    def work(index: int) -> int:
        if index == 2:
            raise UserError("shard 2 cannot be")
        return index

    def submit(index: int) -> "Future[int]":
        submitted.append(index)
        return pool.submit(work, index)

    done: list[int] = []
    with ThreadPoolExecutor(1) as pool, pytest.raises(UserError, match="shard 2 cannot be"):
        drive(50, 1, submit, result, done.append)
    assert submitted == [0, 1, 2]
    assert done == [1, 2]


def test_the_environment_says_which_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runners.chosen() is None
    monkeypatch.setenv("STEERWRIGHT_RUNNER", "threads")
    assert runners.chosen() == Runner("threads", None, 2)
    monkeypatch.setenv("STEERWRIGHT_RUNNER_WORKERS", "5")
    assert runners.chosen() == Runner("threads", None, 5)


@pytest.mark.parametrize(
    ("kind", "address", "workers", "said"),
    [
        ("spark", None, None, "no runner 'spark'; known are threads, processes, dask, ray"),
        ("threads", "127.0.0.1:8786", None, "has no address"),
        ("processes", "127.0.0.1:8786", None, "has no address"),
        ("threads", None, 0, "'0' workers"),
        (None, "127.0.0.1:8786", None, "give --runner dask or ray too"),
        (None, None, 3, "give --runner dask or ray too"),
    ],
)
def test_what_cannot_be_a_runner_is_refused(kind: str, address: str, workers: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        runners.choose(kind, address, workers)


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_a_runner_that_is_not_installed_names_what_to_install(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = runners.importlib.util.find_spec
    monkeypatch.setattr(
        runners.importlib.util, "find_spec", lambda name: None if name == f"prefect_{kind}" else found(name)
    )
    with pytest.raises(UserError, match=rf"pip install 'steerwright\[{kind}\]'"):
        runners.choose(kind, None, None)


def test_a_stage_s_own_wish_for_processes_gives_way_to_the_runner_that_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Runner | None] = []

    def mapper(_work: object, _jobs: object, _what: str, runner: Runner | None) -> list[int]:
        asked.append(runner)
        return []

    with shards_mapped_by(mapper):
        map_shards(abs, [1, 2, 3], processes=8)
        map_shards(abs, [1, 2, 3], processes=1)
        map_shards(abs, [1], processes=8)
        monkeypatch.setenv("STEERWRIGHT_RUNNER", "threads")
        map_shards(abs, [1, 2, 3], processes=8)
    # No more processes than there are shards, and none for a single one.
    assert asked == [Runner("processes", workers=3), None, None, Runner("threads")]


def test_outside_a_stage_shards_stay_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    here: list[int] = []
    map_shards(here.append, [3, 1], processes=2)
    assert here == [3, 1]


def checkout_with_work(root: Path, module: str) -> Path:
    (root / "tasks" / "demo").mkdir(parents=True)
    (root / "tasks" / "demo" / "pipeline.py").touch()
    work = root / f"{module}.py"
    work.write_text(WORK)
    return work


def test_a_shard_is_computed_by_the_code_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout_with_work(tmp_path, "work_of_a_checkout")
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setattr("sys.path", [*sys.path])
    call = ShardCall(str(tmp_path), "work_of_a_checkout", "twice", digest_of("work_of_a_checkout", tmp_path), None)
    assert run_shard(call, pack(21)) == 42
    # Jobs name files relative to the checkout.
    assert Path.cwd() == tmp_path


def digest_of(module: str, root: Path) -> str:
    return digest_of_files(code_closure(module, root), root)


def test_a_worker_with_other_code_or_without_the_checkout_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "tasks" / "demo").mkdir(parents=True)
    (tmp_path / "tasks" / "demo" / "pipeline.py").touch()
    (tmp_path / "tasks" / "work.py").write_text(WORK)
    other = ShardCall(str(tmp_path), "tasks.work", "twice", "0" * 64, None)
    with pytest.raises(UserError, match=r"tasks\.work on .* differs from the planner's"):
        run_shard(other, pack(1))
    elsewhere = ShardCall(str(tmp_path / "not-there"), "tasks.work", "twice", "0" * 64, None)
    with pytest.raises(UserError, match="every worker needs the same checkout"):
        run_shard(elsewhere, pack(1))


@pytest.fixture
def tasks_of_nobody() -> Iterator[None]:
    """No package `tasks` is imported; the repository's own, if it was, comes back at the end."""

    def take_out() -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] == "tasks"}

    before = take_out()
    yield
    take_out()
    sys.modules.update(before)


def test_a_worker_goes_on_with_the_code_that_it_has_and_refuses_what_was_edited_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks_of_nobody: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "tasks" / "demo").mkdir(parents=True)
    (tmp_path / "tasks" / "demo" / "pipeline.py").touch()
    (tmp_path / "tasks" / "__init__.py").write_text("")
    (tmp_path / "tasks" / "numbers_of_a_test.py").write_text("FACTOR = 2\n")
    for name in ("work_of_a_test", "more_work_of_a_test"):
        (tmp_path / "tasks" / f"{name}.py").write_text(
            "from tasks.numbers_of_a_test import FACTOR\n\ndef times(number):\n    return FACTOR * number\n"
        )

    def planned(name: str) -> ShardCall:
        digest = digest_of(f"tasks.{name}", tmp_path)
        return ShardCall(str(tmp_path), f"tasks.{name}", "times", digest, None)

    before = planned("work_of_a_test")
    assert run_shard(before, pack(21)) == 42
    (tmp_path / "tasks" / "numbers_of_a_test.py").write_text("FACTOR = 3\n")
    # The plan that this process was started for.
    assert run_shard(before, pack(4)) == 8
    # A later plan, of the same work and of other work that imports the same file.
    for name in ("work_of_a_test", "more_work_of_a_test"):
        with pytest.raises(UserError, match=r"tasks/numbers_of_a_test\.py was edited since .* restart the workers"):
            run_shard(planned(name), pack(1))


def test_work_that_another_process_could_not_find_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at the top of a module"):
        ShardCall.of(lambda job: job, tmp_path, None)

    def inside(job: int) -> int:
        return job

    with pytest.raises(ValueError, match="at the top of a module"):
        ShardCall.of(inside, tmp_path, None)
