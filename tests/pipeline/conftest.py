"""A copy of the checkout in which a test may run and change everything."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = (
    "steerkit", "tasks", "flows", "data", "models", "params", "params.yaml", "dvc.yaml", "dvc.lock", ".dvc",
    ".dvcignore", ".gitignore", "pyproject.toml",
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

    def steerkit(self, *arguments: str) -> str:
        return self.call(sys.executable, "-m", "steerkit.cli.main", *arguments)

    def run(self, flow: str, *arguments: str) -> dict[str, str]:
        """`steerkit run FLOW`; the verdict of each of its stages, from the table it ends with."""
        said = self.steerkit("run", flow, "--no-prefect", *arguments)
        return dict(re.findall(rf"^({flow}-[\w-]+)\s+(ran|restored|unchanged)\b", said, re.MULTILINE))

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
