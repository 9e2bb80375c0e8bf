"""The real winter pipeline on the embedded models, small, in a copy of the checkout: both commands, edits, reverts."""

import json
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(copy_of_everything: Callable[[str], Any]) -> Any:
    made = copy_of_everything("winter")
    assert "ran" not in made.run("winter").values()
    return made


def test_the_report_and_the_metrics_are_there(project: Any) -> None:
    report = project.root / "artifacts/winter/report/report"
    page = (report / "report.html").read_text()
    assert "<html" in page
    assert not re.search(r"(src|href)=[\"']https?://", page)
    assert (report / "contact-sheet.png").stat().st_size > 10_000
    metrics = json.loads((project.root / "artifacts/winter/scores/metrics.json").read_text())
    assert 0 <= metrics["a_winter_outdoor_adaptive"] <= 1


def test_straight_after_there_is_nothing_to_do_by_either_door(project: Any) -> None:
    begun = time.perf_counter()
    said = project.call(sys.executable, "-m", "steerwright.cli.main", "run", "winter")
    assert "up to date" in said
    assert time.perf_counter() - begun < 10  # not a measurement: it must not have loaded and run anything
    assert project.runs_by_dvc("winter-report") == []
    assert project.dvc_status("--with-deps", "winter-report") == {}


def test_a_key_of_the_adaptive_strategy_reruns_images_scores_and_report_and_its_revert_runs_nothing(
    project: Any,
) -> None:
    project.edit("params.yaml", "high: 1.6", "high: 1.7")
    verdicts = project.run("winter")
    # The first stage asks of a closed loop whether its floors suit the judges; what it writes is what it was.
    assert {stage for stage, verdict in verdicts.items() if verdict == "ran"} == {
        "winter-prompts",
        "winter-images",
        "winter-scores",
        "winter-report",
    }
    project.edit("params.yaml", "high: 1.7", "high: 1.6")
    assert "ran" not in project.run("winter").values()


def test_other_processes_search_and_draw_the_same(project: Any) -> None:
    before = (project.root / "dvc.lock").read_text()
    said = project.steerwright(
        "run", "winter", "--no-prefect", "--only", "winter-search,winter-images", "--force",
        "--runner", "processes", "--runner-workers", "2",
    )  # fmt: skip
    assert set(project.verdicts(said, "winter").values()) == {"ran"}
    assert "shards of pictures" in said and "candidates of grid" in said
    assert (project.root / "dvc.lock").read_text() == before


def test_the_code_of_an_estimator_reruns_what_imports_it_and_an_unrelated_module_nothing(project: Any) -> None:
    for edited in ("steerwright/vectors/estimators/mean_difference.py", "tasks/world/clip.py"):
        with (project.root / edited).open("a") as file:
            file.write("\n# a remark\n")
    # A remark changes no vector, so what reads the vectors finds them as they were.
    assert {stage for stage, verdict in project.run("winter").items() if verdict == "ran"} == {"winter-vectors"}


def test_one_more_pair_computes_only_its_shard(project: Any) -> None:
    shards = project.root / "artifacts/winter/activations/activations"
    before = {path.name: path.read_bytes() for path in shards.rglob("*.arrow")}
    with (project.root / "data/winter/pairs.csv").open("a") as file:
        file.write("64,a purple tent in the snow,a purple tent in the summer sun\n")
    project.run("winter", "--only", "winter-prompts,winter-activations")
    after = {path.name: path.read_bytes() for path in shards.rglob("*.arrow")}
    changed = [name for name in after if before.get(name) != after[name]]
    assert len(changed) == 1
    assert len(before) == len(after) == 4


def test_mistakes_are_one_message_without_a_traceback(project: Any) -> None:
    project.edit("params.yaml", "estimator: mean_difference", "estimatr: mean_difference")
    said = project.call(sys.executable, "-m", "steerwright.cli.main", "run", "winter", "--no-prefect", fails=True)
    assert "winter.vectors.estimator" in said
    assert "estimatr" in said
    assert "Traceback" not in said
    project.edit("params.yaml", "estimatr: mean_difference", "estimator: mean_difference")
    said = project.call(
        sys.executable,
        "-m",
        "steerwright.cli.main",
        "run",
        "winter",
        "--no-prefect",
        "--model",
        "sesons-sd",
        fails=True,
    )
    assert "seasons-sd" in said
    assert "Traceback" not in said
