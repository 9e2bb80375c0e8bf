"""Library versions, device, threads, and weights that lie elsewhere: by both commands, exactly the stages concerned."""

import json
from pathlib import Path

import pytest

from steerwright.dag import environment
from tests.synthetic_project import HERE, Checkout

READS_WEIGHTS = """
    weights: Annotated[str, Param()],
    result:"""


@pytest.fixture
def project(fresh: Checkout, tmp_path: Path) -> Checkout:
    """demo-left imports `fakelib` and torch (without running either), and names weights beside the project."""
    fresh.edit("tasks/left.py", "\n    result:", READS_WEIGHTS)
    fresh.edit(
        "tasks/left.py", '    """The mean', '    if not weights:\n        import fakelib, torch\n    """The mean'
    )
    fresh.edit("params.yaml", "offset: 1", "offset: 1\n    weights: ../weights")
    (tmp_path / "weights").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "weights/model.bin").write_bytes(b"one")
    (tmp_path / "elsewhere/part.bin").write_bytes(b"one")
    (tmp_path / "weights/unet").symlink_to(tmp_path / "elsewhere")
    library(tmp_path, "1.0")
    fresh.environment["PYTHONPATH"] = f"{HERE.parent}:{tmp_path / 'site'}"
    fresh.environment["HF_HUB_CACHE"] = str(tmp_path / "hub")
    fresh.call(fresh.steerwright("dag", "--write"))
    fresh.run()
    fresh.forget()
    return fresh


def library(folder: Path, version: str) -> None:
    about = folder / "site/fakelib.dist-info/METADATA"
    about.parent.mkdir(parents=True, exist_ok=True)
    about.write_text(f"Metadata-Version: 2.1\nName: fakelib\nVersion: {version}\n")
    (folder / "site/fakelib.py").write_text("")


def status(project: Checkout, **more: str) -> dict[str, str]:
    """Stage -> why it would run."""
    said = project.call(project.steerwright("status", "demo"), **more).stdout
    return {
        line.split()[0]: line.partition("would run")[2].strip() for line in said.splitlines() if "would run" in line
    }


@pytest.mark.parametrize("door", ["run", "repro"])
@pytest.mark.parametrize("file", ["weights/model.bin", "elsewhere/part.bin"])
def test_other_bytes_in_a_folder_that_params_name_run_its_readers(
    project: Checkout, tmp_path: Path, door: str, file: str
) -> None:
    getattr(project, door)()
    assert project.started() == []
    (tmp_path / file).write_bytes(b"two")
    assert status(project) == {"demo-left": "what demo.left.weights names has changed"}
    getattr(project, door)()
    # The mean does not depend on them, so that nothing after it has anything to do.
    assert project.started() == ["demo-left"]
    (tmp_path / file).write_bytes(b"one")
    getattr(project, door)()
    assert project.started() == ["demo-left"]  # restored


@pytest.mark.parametrize("door", ["run", "repro"])
def test_another_version_of_a_library_runs_what_imports_it_or_is_accepted(
    project: Checkout, tmp_path: Path, door: str
) -> None:
    library(tmp_path, "1.1")
    assert status(project) == {"demo-left": "fakelib 1.0 -> 1.1"}
    said = project.call(project.steerwright("accept-environment", "demo")).stdout
    assert said == "accepted for demo-left: fakelib 1.0 -> 1.1\n"
    getattr(project, door)()
    assert project.started() == [] and status(project) == {}
    said = project.call(project.steerwright("accept-environment", "demo")).stdout
    assert said == "demo: every result was made in this environment, nothing to accept.\n"
    library(tmp_path, "1.2")
    getattr(project, door)()
    assert project.started() == ["demo-left"]


def test_what_would_run_all_the_same_is_not_accepted(project: Checkout, tmp_path: Path) -> None:
    library(tmp_path, "1.1")
    project.edit("params.yaml", "offset: 1", "offset: 3")
    said = project.call(project.steerwright("accept-environment")).stdout
    assert said.startswith("not accepted for demo-left (fakelib 1.0 -> 1.1): it would run all the same")
    project.edit("params.yaml", "offset: 3", "offset: 1")
    (tmp_path / "weights/model.bin").write_bytes(b"two")
    said = project.call(project.steerwright("accept-environment")).stdout
    assert "other weights are other inputs" in said
    assert set(status(project)) == {"demo-left"}


def test_results_of_another_device_or_number_of_threads_do_not_count(project: Checkout) -> None:
    assert status(project) == {}
    assert status(project, OMP_NUM_THREADS="3") == {"demo-left": "threads 1 -> 3"}
    assert status(project, STEERWRIGHT_DEVICE="cuda:1") == {"demo-left": "device cpu -> cuda, threads 1 -> none"}
    assert status(project) == {}
    project.repro(OMP_NUM_THREADS="3")
    assert project.started() == ["demo-left"]


def cached_model(folder: Path, commit: str) -> None:
    refs = folder / "hub/models--some--model/refs/main"
    refs.parent.mkdir(parents=True, exist_ok=True)
    refs.write_text(commit)


@pytest.mark.parametrize("door", ["run", "repro"])
def test_a_hub_id_counts_by_the_commit_that_the_cache_has(project: Checkout, tmp_path: Path, door: str) -> None:
    # The stage is the first to download it: its record names the commit, and it need not run twice.
    project.edit("params.yaml", "weights: ../weights", "weights: some/model")
    project.edit(
        "tasks/left.py", "    pause(", f"    refs = Path({str(tmp_path)!r}, 'hub/models--some--model/refs')\n"
        "    refs.mkdir(parents=True, exist_ok=True)\n    (refs / 'main').write_text('aaa')\n    pause(",
    )  # fmt: skip
    project.call(project.steerwright("dag", "--write"))
    getattr(project, door)()
    assert project.started() == ["demo-left"]
    project.forget()
    for other in ("run", "repro"):
        getattr(project, other)()
    assert project.started() == [] and status(project) == {}
    cached_model(tmp_path, "bbb")
    assert status(project) == {"demo-left": "what demo.left.weights names has changed"}


def test_the_stage_alone_runs_in_a_fresh_checkout_and_is_recorded_as_it_ran(fresh: Checkout) -> None:
    (fresh.root / environment.FILE).write_text(json.dumps({"demo-numbers": {}}))
    fresh.repro("--single-item", "demo-numbers")
    recorded = environment.read(fresh.root)["demo-numbers"]
    assert recorded["libraries"].keys() == {"steerwright"}
    fresh.run()
    assert fresh.started().count("demo-numbers") == 1


def test_of_the_models_only_those_count_that_another_value_names(tmp_path: Path) -> None:
    params = {
        "model": "mine",
        "models": {
            "mine": {"source": "a/b", "fallback": "small"},
            "small": {"source": "c/d"},
            "other": {"source": "e/f"},
        },
    }
    found = environment.strings_under(params, ["model", "models"])
    assert found == {
        "model": "mine",
        "models.mine.source": "a/b",
        "models.mine.fallback": "small",
        "models.small.source": "c/d",
    }


def test_a_file_that_is_named_and_absent_counts_once_it_is_there(project: Checkout, tmp_path: Path) -> None:
    project.edit("params.yaml", "weights: ../weights", "weights: ../later")
    project.run()
    assert status(project) == {}
    (tmp_path / "later").write_text("now")
    assert set(status(project)) == {"demo-left"}


def test_the_device_is_the_one_that_torch_would_take() -> None:
    import torch

    assert environment.device_class() == ("cuda" if torch.cuda.is_available() else "cpu")
