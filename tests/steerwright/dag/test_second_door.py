"""`dvc` as README has it: nothing activated, no python on PATH, from an archive, pulled in part, and as experiments."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steerwright.dag.dvc import lockfile
from steerwright.dag.dvc import lockfile as dvc_lock
from tests.synthetic_project import HERE, Checkout, copy_checkout

BIN = Path(sys.executable).parent
RUN = HERE.parent / "tasks" / "run.sh"


def bare(checkout: Checkout, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A command in a shell where nothing is activated; the folders of PATH have no python with our libraries."""
    kept = {name: value for name, value in checkout.env().items() if name != "VIRTUAL_ENV"}
    environment = {**kept, "PATH": "/usr/bin:/bin", **more}
    command = [str(word) for word in words]
    return subprocess.run(command, cwd=checkout.root, env=environment, capture_output=True, text=True)


def link_to_this_python(folder: Path) -> Path:
    """A virtual environment like this one in another place."""
    (folder / "bin").mkdir(parents=True)
    for name in (".", ".."):
        for entry in (BIN / name).resolve().iterdir():
            place = folder / ("bin" if name == "." else "") / entry.name
            if not place.exists():
                place.symlink_to(entry)
    return folder / "bin"


@pytest.mark.parametrize("shell", ["", "/bin/sh", "/bin/bash"])
def test_dvc_runs_its_own_python_when_none_is_activated(done: Checkout, shell: str) -> None:
    ran = bare(done, BIN / "dvc", "repro", "-s", "-f", "demo-left", SHELL=shell)
    assert ran.returncode == 0, ran.stderr
    assert done.started() == ["demo-left"]


def test_a_python_of_the_path_that_lacks_the_libraries_is_not_taken(done: Checkout, tmp_path: Path) -> None:
    other = tmp_path / "bin"
    other.mkdir()
    for name in ("python", "python3"):
        (other / name).write_text("#!/bin/sh\nexit 1\n")
        (other / name).chmod(0o755)
    ran = bare(done, BIN / "dvc", "repro", "-s", "-f", "demo-left", PATH=f"{other}:/usr/bin:/bin")
    assert ran.returncode == 0, ran.stderr


def test_where_the_path_has_a_blank_and_dvc_is_a_module_and_starts_below_the_root(
    done: Checkout, tmp_path: Path
) -> None:
    (tmp_path / "a b").mkdir()
    there = copy_checkout(done, tmp_path / "a b" / "the project")
    python = link_to_this_python(there.root / ".venv") / "python"
    ran = bare(there, "sh", "-c", "cd tasks && ../.venv/bin/python -m dvc repro -s -f ../dvc.yaml:demo-left")
    assert ran.returncode == 0, ran.stderr
    assert there.started() == ["demo-left"]
    # Found in the folder, not as somebody's parent.
    assert bare(there, "sh", "tasks/run.sh", "demo-right").returncode == 0
    assert bare(there, python, "-m", "tasks", "demo-right").returncode == 0


@pytest.mark.skipif(shutil.which("ps") is None, reason="the words of a command line are asked of ps")
@pytest.mark.parametrize("words", [["dvc"], ["python", "-m", "dvc"]])
def test_without_proc_the_python_is_found_by_ps(done: Checkout, tmp_path: Path, words: list[str]) -> None:
    # As on macOS: no /proc.
    text = (done.root / "tasks/run.sh").read_text()
    assert '"/proc/' in text
    (done.root / "tasks/run.sh").write_text(text.replace('"/proc/', '"/no-proc/'))
    place = link_to_this_python(tmp_path / "a b" / "c" / ".venv")
    (place / "dvc").unlink()
    (place / "dvc").write_text("from dvc.cli import main\nraise SystemExit(main())\n")
    command = [place / "python", place / "dvc"] if words == ["dvc"] else [place / "python", *words[1:]]
    ran = bare(done, *command, "repro", "-s", "-f", "demo-left")
    assert ran.returncode == 0, ran.stderr


def test_an_activated_environment_is_taken_and_where_none_is_found_it_says_so(done: Checkout, tmp_path: Path) -> None:
    # As if no python had started it.
    lonely = tmp_path / "run.sh"
    lonely.write_text(RUN.read_text().replace("pid=$PPID", "pid=1"))
    place = link_to_this_python(tmp_path / "environment").parent
    ran = bare(done, "/bin/sh", lonely, "demo-left", VIRTUAL_ENV=str(place), PATH="/nowhere")
    assert ran.returncode == 0, ran.stderr
    failed = bare(done, "/bin/sh", lonely, "demo-left", PATH="/nowhere")
    assert failed.returncode == 2
    assert "no python with the libraries of this project" in failed.stderr
    assert ".venv/bin/dvc" in failed.stderr


def test_records_under_the_earlier_command_are_carried_over(done: Checkout) -> None:
    path = done.root / "dvc.lock"
    now = path.read_text()
    path.write_text(now.replace("cmd: sh tasks/run.sh ", f"cmd: {lockfile.EARLIER_COMMAND}"))
    yaml = (done.root / "dvc.yaml").read_text()
    (done.root / "dvc.yaml").write_text(yaml.replace("cmd: sh tasks/run.sh ", f"cmd: {lockfile.EARLIER_COMMAND}"))
    assert "written" in done.call(done.steerwright("dag", "--write")).stdout
    assert (done.root / "dvc.yaml").read_text() == yaml
    # The stage `environment` runs whatever its record says.
    assert path.read_text().replace(f"{lockfile.EARLIER_COMMAND}environment", "sh tasks/run.sh environment") == now
    assert done.repro().stdout.count("didn't change, skipping") == 7
    assert done.started() == []


def test_a_project_from_an_archive_without_git_works_by_both_doors(done: Checkout, tmp_path: Path) -> None:
    there = Checkout(tmp_path / "unpacked")
    there.root.mkdir()
    done.call(["sh", "-c", f"git archive HEAD | tar x -C '{there.root}'"])
    said = there.call(there.steerwright("repair")).stdout
    assert "no git repository" in said
    there.repro("demo-left")
    there.run()
    assert there.dvc_status() == {}
    assert "nothing to mend" in there.call(there.steerwright("repair")).stdout
    there.git("init", "-q")
    assert "took core.no_scm out" in there.call(there.steerwright("repair")).stdout
    assert "no_scm" not in (there.root / ".dvc/config.local").read_text()
    assert there.run().returncode == 0


def test_a_pull_of_what_was_run_in_part_works_as_the_docs_say(fresh: Checkout, tmp_path: Path) -> None:
    fresh.call(["dvc", "remote", "add", "-d", "store", str(tmp_path / "remote")])
    fresh.repro("demo-left")
    fresh.call(["dvc", "push", "-q"])
    fresh.git("add", "-A")
    fresh.git("commit", "-q", "-m", "one pipeline")
    for number, options in enumerate((["--allow-missing"], ["--with-deps", "demo-left"])):
        fresh.call(["git", "clone", "-q", ".", str(tmp_path / f"clone{number}")])
        clone = Checkout(tmp_path / f"clone{number}")
        assert clone.call(["dvc", "pull"], check=False).returncode == 1
        shutil.rmtree(clone.root / "artifacts/demo/left")
        clone.call(["dvc", "pull", *options])
        assert (clone.root / "artifacts/demo/left/result.json").exists()
        clone.repro("demo-left")
        assert clone.started() == []


@pytest.mark.parametrize("how", [[], ["--temp"]])
def test_an_experiment_runs_what_its_key_changes(done: Checkout, how: list[str]) -> None:
    ran = bare(done, BIN / "dvc", "exp", "run", *how, "-n", "more", "-S", "demo.left.offset=5", "demo-left")
    assert ran.returncode == 0, ran.stderr
    assert done.started() == ["demo-left"]
    if how:
        assert bare(done, BIN / "dvc", "exp", "apply", "more").returncode == 0
    # 14 with an offset of 1.
    assert json.loads((done.root / "artifacts/demo/left/result.json").read_text()) == 18.0
    assert "offset: 5" in (done.root / "params.yaml").read_text()
    shown = bare(done, BIN / "dvc", "params", "diff", "--json", "HEAD").stdout
    assert json.loads(shown)["params.yaml"]["demo.left.offset"] == {"old": 1, "new": 5, "diff": 4}
    entry = dvc_lock.lock_entry(done.root, "demo-left")
    assert entry is not None
    assert entry["params"]["params.yaml"]["demo.left.offset"] == 5


def test_a_queued_experiment_runs_with_dvc_on_the_path(done: Checkout) -> None:
    done.call(["dvc", "exp", "run", "--queue", "-n", "later", "-S", "demo.left.offset=6", "demo-left"])
    done.call(["dvc", "exp", "run", "--run-all"])
    assert done.started() == ["demo-left"]
    shown = json.loads(done.call(["dvc", "exp", "show", "--json"]).stdout)
    assert "later" in json.dumps(shown)


def test_git_changes_no_byte_whatever_its_settings_for_line_ends(tmp_path: Path) -> None:
    made = Checkout(tmp_path / "made")
    made.root.mkdir()
    contents = {"params.yaml": b"a: 1\nb: 2\n", "crlf.csv": b"a,b\r\n1,2\r\n", "weights.npy": b"\x93NUMPY\n\r\n\x00"}
    for name, content in contents.items():
        (made.root / name).write_bytes(content)
    shutil.copy(HERE.parent / ".gitattributes", made.root)
    made.git("init", "-q")
    made.git("-c", "core.autocrlf=input", "add", "-A")
    made.git("commit", "-q", "-m", "start")
    for setting in ("core.autocrlf=true", "core.eol=crlf"):
        clone = tmp_path / setting
        made.call(["git", "clone", "-q", "-c", setting, ".", str(clone)])
        assert {name: (clone / name).read_bytes() for name in contents} == contents
