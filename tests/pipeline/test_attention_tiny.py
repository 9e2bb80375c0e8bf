"""The real attention pipeline on the embedded model, small, in a copy of the checkout; then both pipelines compared."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
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

    def call(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.root, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def run(self, *arguments: str, flow: str = "attention") -> dict[str, str]:
        said = self.call(sys.executable, "-m", "steerkit.cli.main", "run", flow, "--no-prefect", *arguments)
        return dict(re.findall(r"^([a-z]+-\w+)\s+(ran|restored|unchanged)\b", said, re.MULTILINE))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    root = tmp_path_factory.mktemp("attention") / "checkout"
    root.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=LEAVE_OUT)
        else:
            shutil.copy2(source, root / part)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    copy = Project(root)
    verdicts = copy.run("--params", "params/tiny.yaml")
    assert {name: verdict for name, verdict in verdicts.items() if verdict != "ran"} == {
        name: "unchanged" for name in verdicts if name.startswith("world-")
    }
    yield copy


def test_every_edit_has_its_pictures_scores_and_page(project: Project) -> None:
    folder = project.root / "artifacts" / "attention"
    images = pl.read_parquet(folder / "scores" / "images.parquet")
    chosen = json.loads((folder / "search" / "chosen.json").read_text())
    assert set(images["edit"]) == set(chosen) == {"add-winter", "erase-horse", "cat-to-horse"}
    for name in chosen:
        conditions = set(images.filter(edit=name)["condition"])
        assert conditions == {"unsteered", "steered", "random", "prompt", "negative"}
    page = (folder / "report" / "report" / "report.html").read_text()
    assert all(name in page for name in ("Add winter", "Erase horse", "Replace cat by horse"))
    # Four steps in two bins, seven blocks: fourteen vectors a concept.
    geometry = pl.read_parquet(folder / "vectors" / "geometry.parquet")
    assert dict(geometry.group_by("concept").len().iter_rows()) == {"winter": 14, "horse": 14, "cat": 14}


def test_erasing_leaves_pictures_without_the_concept_almost_alone(project: Project) -> None:
    images = pl.read_parquet(project.root / "artifacts" / "attention" / "scores" / "images.parquet")
    steered = images.filter(edit="erase-horse", condition="steered")
    near = steered.filter(pl.col("kind") != "contains")["lpips"].mean()
    far = steered.filter(pl.col("kind") == "contains")["lpips"].mean()
    assert isinstance(near, float) and isinstance(far, float)
    assert near < 0.1 * far


def test_one_context_more_collects_one_shard_more(project: Project) -> None:
    lists = project.root / "data" / "attention" / "contexts" / "objects.txt"
    moments = project.root / "artifacts" / "attention" / "activations" / "activations" / "horse"
    before = {path.name: path.stat().st_mtime_ns for path in moments.iterdir()}
    with lists.open("a") as file:
        file.write("a photo of a blue {concept} in the evening by a lake\n")
    project.call(sys.executable, "-m", "steerkit.cli.main", "run", "attention", "--no-prefect", "--only",
                 "attention-prompts")  # fmt: skip
    project.call(sys.executable, "-m", "steerkit.cli.main", "run", "attention", "--no-prefect", "--only",
                 "attention-activations")  # fmt: skip
    after = {path.name: path.stat().st_mtime_ns for path in moments.iterdir()}
    assert after.keys() == before.keys()
    assert sum(after[name] != before[name] for name in after) == 1


def test_everything_ends_with_one_table_of_all_methods(project: Project) -> None:
    said = project.call(sys.executable, "-m", "steerkit.cli.main", "run", "everything", "--no-prefect")
    for method in ("text encoder, fixed strength", "text encoder, adaptive strength", "cross-attention, add"):
        assert method in said
    assert "scoreboard.html" in said
    again = project.call(sys.executable, "-m", "steerkit.cli.main", "run", "everything", "--no-prefect")
    assert "up to date" in again and "cross-attention, add" in again
