"""Copies of the checkout in which a test may run and change everything: with nothing run, or with all pipelines run."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
PARTS = (
    "steerwright", "seasons", "tasks", "flows", "data", "models", "params", "params.yaml", "dvc.yaml", "dvc.lock",
    ".dvc", ".dvcignore", ".gitattributes", ".gitignore", "pyproject.toml", "artifacts/environment.json",
)  # fmt: skip
LEAVE_OUT = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local", ".work")


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

    def steerwright(self, *arguments: str) -> str:
        return self.call(sys.executable, "-m", "steerwright.cli.main", *arguments)

    def run(self, flow: str, *arguments: str) -> dict[str, str]:
        """`steerwright run FLOW`; the verdict of each of its stages, from the table it ends with."""
        return self.verdicts(self.steerwright("run", flow, "--no-prefect", *arguments), flow)

    @staticmethod
    def verdicts(said: str, flow: str) -> dict[str, str]:
        """The verdict of each stage of a flow, from the table that `steerwright run` ended with."""
        return dict(re.findall(rf"^({flow}-[\w-]+)\s+(ran|restored|unchanged)\b", said, re.MULTILINE))

    def runs_by_dvc(self, *targets: str) -> list[str]:
        """The stages that `dvc repro` runs, without `environment`, which always does."""
        found = re.findall(r"Running stage '(.*?)'", self.call("dvc", "repro", *targets))
        return [name for name in found if name != "environment"]

    def dvc_status(self, *options: str) -> dict[str, object]:
        """What `dvc status` reports, without the stage `environment`."""
        said = self.call("dvc", "status", "--json", *options)
        found: dict[str, object] = json.loads(said[said.index("{") : said.rindex("}") + 1])
        return {name: why for name, why in found.items() if name != "environment"}

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture(scope="session")
def copy_of_checkout(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Project]:
    """Gives a committed copy of the checkout, in a folder of that name, with nothing run in it."""

    def make(name: str) -> Project:
        root = tmp_path_factory.mktemp(name) / "checkout"
        root.mkdir()
        for part in PARTS:
            source = ROOT / part
            (root / part).parent.mkdir(exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, root / part, ignore=LEAVE_OUT)
            else:
                shutil.copy2(source, root / part)
        made = Project(root)
        made.call("git", "init", "-q")
        made.call("git", "add", "-A")
        made.call("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start")
        return made

    return make


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory, copy_of_checkout: Callable[[str], Project]) -> Path:
    """All pipelines run once, small, from nothing, by one command: in `checkout`, which is to be copied, not used.

    `said` is what the command said, `said-again` what it said straight after. It takes minutes, so the test processes
    share it: the first to want it makes it, the others wait.
    """
    ours = tmp_path_factory.getbasetemp()
    folder = (ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours) / "everything"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            made = copy_of_checkout("everything")
            command = ("run", "everything", "--no-prefect")
            (made.root.parent / "said").write_text(made.steerwright(*command, "--params", "params/tiny.yaml"))
            (made.root.parent / "said-again").write_text(made.steerwright(*command))
            made.root.parent.rename(folder)
    return folder


@pytest.fixture(scope="session")
def copy_of_everything(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Project]:
    """Gives a copy of the checkout in which everything has run, in a folder of that name."""

    def make(name: str) -> Project:
        root = tmp_path_factory.mktemp(name) / "checkout"
        # Outputs and DVC's cache share their files by hard links: cp keeps that, shutil does not.
        subprocess.run(["cp", "-a", str(everything / "checkout"), str(root)], check=True)
        return Project(root)

    return make
