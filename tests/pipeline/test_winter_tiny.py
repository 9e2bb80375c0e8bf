"""The real winter pipeline on the embedded models, small, in a copy of the checkout: both doors, edits, reverts."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = (
    "steerkit", "tasks", "flows", "data", "models", "params", "params.yaml", "dvc.yaml", "dvc.lock", ".dvc",
    ".dvcignore", ".gitignore", "pyproject.toml",
)  # fmt: skip
LEAVE_OUT = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local", ".work")

pytestmark = pytest.mark.slow


class Project:
    """A copy of the checkout and its command lines."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(root),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(root.parent / "dvc-site-cache"),
        }

    def call(self, *command: str, fails: bool = False) -> str:
        done = subprocess.run(command, cwd=self.root, env=self.env, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def run(self, *arguments: str) -> dict[str, str]:
        """`steerkit run winter`; the verdict of each stage, from the table it ends with."""
        said = self.call(sys.executable, "-m", "steerkit.cli.main", "run", "winter", "--no-prefect", *arguments)
        return dict(re.findall(r"^(winter-\w+)\s+(ran|restored|unchanged)\b", said, re.MULTILINE))

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    root = tmp_path_factory.mktemp("winter") / "checkout"
    root.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=LEAVE_OUT)
        else:
            shutil.copy2(source, root / part)
    made = Project(root)
    made.call("git", "init", "-q")
    made.call("git", "add", "-A")
    made.call("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start")
    made.run("--params", "params/tiny.yaml")
    yield made


def test_the_report_and_the_metrics_are_there(project: Project) -> None:
    report = project.root / "artifacts/winter/report/report"
    page = (report / "report.html").read_text()
    assert "<html" in page
    assert not re.search(r"(src|href)=[\"']https?://", page)
    assert (report / "contact-sheet.png").stat().st_size > 10_000
    metrics = json.loads((project.root / "artifacts/winter/scores/metrics.json").read_text())
    assert 0 <= metrics["a_winter_outdoor_adaptive"] <= 1


def test_straight_after_there_is_nothing_to_do_by_either_door(project: Project) -> None:
    begun = time.perf_counter()
    said = project.call(sys.executable, "-m", "steerkit.cli.main", "run", "winter")
    assert "up to date" in said
    assert time.perf_counter() - begun < 10  # not a measurement: it must not have loaded and run anything
    assert "Running stage" not in project.call("dvc", "repro")
    assert "up to date" in project.call("dvc", "status")


def test_a_key_of_the_adaptive_strategy_reruns_images_scores_and_report_and_its_revert_runs_nothing(
    project: Project,
) -> None:
    project.edit("params.yaml", "high: 1.6", "high: 1.7")
    verdicts = project.run()
    assert {stage for stage, verdict in verdicts.items() if verdict == "ran"} == {
        "winter-images",
        "winter-scores",
        "winter-report",
    }
    project.edit("params.yaml", "high: 1.7", "high: 1.6")
    assert "ran" not in project.run().values()


def test_the_code_of_an_estimator_reruns_what_imports_it_and_an_unrelated_module_nothing(project: Project) -> None:
    with (project.root / "steerkit/report/submission.py").open("a") as file:
        file.write("\n# a remark\n")
    assert {stage for stage, verdict in project.run().items() if verdict == "ran"} == {"winter-report"}
    with (project.root / "steerkit/world/train_clip.py").open("a") as file:
        file.write("\n# a remark\n")
    assert "ran" not in project.run().values()


def test_one_more_pair_computes_only_its_shard(project: Project) -> None:
    shards = project.root / "artifacts/winter/activations/activations"
    before = {path.name: path.read_bytes() for path in shards.rglob("*.arrow")}
    with (project.root / "data/winter/pairs.csv").open("a") as file:
        file.write("64,a purple tent in the snow,a purple tent in the summer sun\n")
    project.run("--only", "winter-prompts")
    project.run("--only", "winter-activations")
    after = {path.name: path.read_bytes() for path in shards.rglob("*.arrow")}
    changed = [name for name in after if before.get(name) != after[name]]
    assert len(changed) == 1
    assert len(before) == len(after) == 4


def test_mistakes_are_one_message_without_a_traceback(project: Project) -> None:
    project.edit("params.yaml", "estimator: mean_difference", "estimatr: mean_difference")
    said = project.call(sys.executable, "-m", "steerkit.cli.main", "run", "winter", "--no-prefect", fails=True)
    assert "winter.vectors.estimator" in said
    assert "estimatr" in said
    assert "Traceback" not in said
    project.edit("params.yaml", "estimatr: mean_difference", "estimator: mean_difference")
    said = project.call(
        sys.executable, "-m", "steerkit.cli.main", "run", "winter", "--no-prefect", "--model", "sesons-sd", fails=True
    )
    assert "seasons-sd" in said
    assert "Traceback" not in said
