"""A checkout of the synthetic project in a folder of its own, and ways to run it; for tests and benchmarks alike."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

HERE = Path(__file__).resolve().parent
HIDDEN = {"dvcconfig": ".dvc/config", "dvcignore": ".dvcignore", "gitignore": ".gitignore"}
GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]


@dataclass
class Checkout:
    """A project in ``root`` and the environment in which its commands run."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def journal(self) -> Path:
        """Where the engine notes each computation."""
        return self.root.parent / f"{self.root.name}.journal"

    def started(self) -> list[str]:
        """Names of the stages whose computation has begun so far, in order; forget() empties the list."""
        if not self.journal.exists():
            return []
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return [stage for _, what, stage, _ in lines if what == "started"]

    def forget(self) -> None:
        """Start the journal again."""
        self.journal.unlink(missing_ok=True)

    def env(self, **more: str) -> dict[str, str]:
        """The environment of a command."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(HERE.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.root.parent / "dvc-site-cache"),
            "STEERWRIGHT_JOURNAL": str(self.journal),
            "OMP_NUM_THREADS": "1",
            **self.environment,
            **more,
        }

    def steerwright(self, *arguments: str) -> list[str]:
        """The command line of steerwright with these arguments."""
        return [sys.executable, "-m", "steerwright.cli.main", *arguments]

    def call(self, command: list[str], *, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; with ``check`` its failure is an error that shows what it said."""
        done = subprocess.run(command, cwd=self.root, env=self.env(**more), capture_output=True, text=True)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def run(self, *options: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """`steerwright run demo` by the engine's own scheduler."""
        return self.call(self.steerwright("run", "demo", "--no-prefect", *options), check=check, **more)

    def repro(self, *options: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """`dvc repro`."""
        return self.call(["dvc", "repro", *options], check=check, **more)

    def dvc_status(self) -> dict[str, object]:
        """What `dvc status` reports, without the stage `environment`, which always runs."""
        found: dict[str, object] = json.loads(self.call(["dvc", "status", "--json"]).stdout)
        assert found.pop("environment") == ["always changed"]
        return found

    def hashes(self) -> dict[str, str]:
        """Path of each output -> its md5, from dvc.lock."""
        stages = YAML(typ="safe").load((self.root / "dvc.lock").read_text())["stages"]
        return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}

    def start(self, command: list[str], **more: str) -> subprocess.Popen[str]:
        """Start a command as the leader of a process group of its own."""
        return subprocess.Popen(
            command, cwd=self.root, env=self.env(**more), text=True, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace text in a file of the project; the text must be there."""
        path = self.root / file
        text = path.read_text()
        if old not in text:
            raise ValueError(f"{file} does not contain {old!r}")
        path.write_text(text.replace(old, new))

    def git(self, *arguments: str) -> str:
        """Run git in the project."""
        return self.call([*GIT, *arguments]).stdout


def make_checkout(root: Path) -> Checkout:
    """A fresh git and DVC checkout of the synthetic project, dvc.yaml written, nothing run."""
    shutil.copytree(HERE / "synthetic", root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".dvc").mkdir()
    for visible, hidden in HIDDEN.items():
        (root / visible).rename(root / hidden)
    shutil.copy(HERE.parent / "tasks" / "run.sh", root / "tasks")
    (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    checkout = Checkout(root)
    checkout.call([*GIT, "init", "-q"])
    checkout.call(checkout.steerwright("dag", "--write"))
    checkout.git("add", "-A")
    checkout.git("commit", "-q", "-m", "start")
    return checkout


def copy_checkout(made: Checkout, root: Path) -> Checkout:
    """The same project with all its results in another place, hard links kept."""
    subprocess.run(["cp", "-a", str(made.root), str(root)], check=True)
    return Checkout(root, dict(made.environment))


def kill_a_worker(log: Path, after: int, unless_ended: subprocess.Popen[Any]) -> int:
    """kill -9 the process that has a shard under way, once ``after`` shards are made; returns its number."""
    while unless_ended.poll() is None:
        lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        made = {shard for what, shard, _ in lines if what == "made"}
        busy = [int(pid) for what, shard, pid in lines if what == "began" and shard not in made]
        if len(made) >= after and busy:
            os.kill(busy[-1], signal.SIGKILL)
            return busy[-1]
        time.sleep(0.01)
    said = unless_ended.stdout.read() if unless_ended.stdout else ""
    raise RuntimeError(f"it ended, with {unless_ended.returncode}, before a worker could be killed\n{said}")


def shard_runs(api: str, checkout: Checkout) -> list[dict[str, Any]]:
    """Task runs of the shards in the checkout's newest flow run, once all of them have ended (or ten seconds later)."""
    commit = checkout.git("rev-parse", "--short=10", "HEAD").strip()
    filters = {"sort": "START_TIME_DESC", "flow_runs": {"name": {"like_": commit}}}
    newest = ask_prefect(api, "/flow_runs/filter", filters)[0]["id"]
    ours = {"flow_runs": {"parent_flow_run_id": {"any_": [newest]}}}
    found: list[dict[str, Any]] = []
    for _ in range(40):
        found = []
        # The server gives a page at a time.
        while page := ask_prefect(api, "/task_runs/filter", ours | {"offset": len(found)}):
            found += page
        if found and not {"Pending", "Running"} & {run["state_name"] for run in found}:
            break
        time.sleep(0.25)
    return found


def ask_prefect(api: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The JSON reply to a POST of `body`, or to a GET without one.

    While another client writes, the server's database is locked and it says 503; Prefect's own client asks again, too.
    """
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{api}{path}", content, {"content-type": "application/json"})
    for _ in range(20):
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(0.5)
    raise TimeoutError(f"{api}{path} stays unavailable")
