"""What a merge leaves in dvc.lock is mended; in files that a person writes it is told in a sentence."""

import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from steerwright.dag.dvc import cache_objects, repair
from steerwright.dag.dvc import lockfile as dvc_lock
from tests.synthetic_project import GIT, Checkout

MARKED = "a\n<<<<<<< HEAD\nb\n||||||| base\nc\n=======\nd\n>>>>>>> theirs\ne\n"


@pytest.fixture
def merging(done: Checkout) -> Checkout:
    """Two branches that ran with another key each, in the middle of their merge; params.yaml has this one's key."""
    done.git("checkout", "-q", "-b", "theirs")
    done.edit("params.yaml", "offset: 1", "offset: 5")
    done.run()
    done.git("commit", "-qam", "theirs")
    done.git("checkout", "-q", "-")
    done.edit("params.yaml", "offset: 1", "offset: 3")
    done.run()
    done.git("commit", "-qam", "ours")
    merged = subprocess.run([*GIT, "merge", "theirs"], cwd=done.root, env=done.env(), capture_output=True, text=True)
    assert merged.returncode == 1
    assert "<<<<<<<" in (done.root / "dvc.lock").read_text()
    done.git("checkout", "--ours", "params.yaml")
    done.forget()
    return done


def test_the_sides_of_a_merge_are_told_apart() -> None:
    assert cache_objects.sides(MARKED) == ("a\nb\ne\n", "a\nd\ne\n")
    assert cache_objects.line(MARKED) == 2
    for lost in ("<<<<<<< HEAD\n", "=======\n", ">>>>>>> theirs\n"):
        assert cache_objects.sides(MARKED.replace(lost, "")) is None
    fine = "title\n========\n  =======\n- <<<<<<< x\n"
    assert cache_objects.line(fine) is None
    assert cache_objects.sides(fine) is None


@pytest.mark.parametrize("door", ["run", "repro"])
def test_a_merge_of_two_runs_needs_nothing_to_be_computed(merging: Checkout, door: str) -> None:
    if door == "repro":
        said = merging.call(merging.steerwright("repair")).stdout
        merging.repro()
    else:
        said = merging.run().stderr
    assert "dvc.lock had conflict markers of a merge" in said
    assert "kept" in said
    assert merging.started() == []
    text = (merging.root / "dvc.lock").read_text()
    assert set(YAML(typ="safe").load(text)["stages"]) == set(dvc_lock.lock_entries(text))
    assert "offset: 3" in text.replace("demo.left.offset", "offset")
    assert merging.dvc_status() == {}


def test_the_other_sides_key_takes_the_other_sides_results(merging: Checkout) -> None:
    merging.git("checkout", "--theirs", "params.yaml")
    merging.run()
    assert merging.started() == []
    assert (merging.root / "artifacts/demo/left/result.json").read_text() == "18.0"


def test_status_mends_and_says_so_and_a_record_whose_results_are_gone_gives_way(merging: Checkout) -> None:
    here, _ = cache_objects.sides((merging.root / "dvc.lock").read_text()) or ("", "")
    entry = dvc_lock.parse_entry(dvc_lock.lock_entries(here)["demo-left"])
    assert entry is not None
    dvc_lock.cached_file(merging.root, entry["outs"][0]["md5"]).unlink()
    said = merging.call(merging.steerwright("status", "demo")).stderr
    assert "of the other side" in said
    kept = dvc_lock.lock_entry(merging.root, "demo-left")
    assert kept is not None
    assert kept["params"]["params.yaml"]["demo.left.offset"] == 5


def test_an_entry_that_neither_side_has_whole_is_dropped_and_markers_that_do_not_fit_are_like_a_torn_file(
    done: Checkout,
) -> None:
    path = done.root / "dvc.lock"
    whole = path.read_text()
    start, end = dvc_lock.entry_spans(whole)["demo-left"]
    marked = "<<<<<<< HEAD\n  demo-left:\n    cmd: a\n=======\n  demo-left:\n    cmd: b\n>>>>>>> x\n"
    path.write_text(whole[:start] + marked + whole[end:])
    said = repair.repair(done.root)
    assert "1 of neither" in said[0]
    assert path.read_text() == whole[:start] + whole[end:]
    path.write_text(whole[:start] + "=======\n" + whole[start:])
    assert "torn" in repair.repair(done.root)[0]
    assert dvc_lock.lock_entries(path.read_text()).keys() == dvc_lock.lock_entries(whole).keys()
    assert repair.repair(done.root) == []


@pytest.mark.parametrize("file", ["dvc.yaml", "params.yaml"])
def test_a_file_that_a_person_writes_is_named_with_its_line(done: Checkout, file: str) -> None:
    path = done.root / file
    number = len(path.read_text().splitlines()) + 1
    path.write_text(path.read_text() + "<<<<<<< HEAD\nx: 1\n=======\nx: 2\n>>>>>>> theirs\n")
    for command in (["run", "demo", "--no-prefect"], ["status", "demo"]):
        failed = done.call(done.steerwright(*command), check=False)
        assert failed.returncode == 2
        assert f"{file}, line {number}: conflict markers of a merge" in failed.stderr
        assert "Traceback" not in failed.stderr


def test_values_to_merge_in_are_read_with_the_same_eyes(done: Checkout, tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("<<<<<<< HEAD\ndemo: {}\n=======\n>>>>>>> theirs\n")
    failed = done.run("--params", str(tmp_path / "more.yaml"), check=False)
    assert failed.returncode == 2
    assert "more.yaml, line 1: conflict markers of a merge" in failed.stderr
