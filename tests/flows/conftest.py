"""A real Prefect server on 127.0.0.1 and a small checkout with a pipeline called `winter`, for the tests of flows."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic_project import ask_prefect

REPOSITORY = Path(__file__).resolve().parents[2]

TASK = '''"""Work of the test pipeline."""

import logging
import time
from pathlib import Path
from typing import Annotated

from steerwright.dag import Dep, Out, Param, progress

log = logging.getLogger(__name__)


def {name}(
    before: Annotated[Path, Dep()],
    seconds: Annotated[float, Param()],
    out: Annotated[Path, Out("{name}.txt")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """Sleep for a while, reporting progress, and write down what was read."""
    log.info("{name} begins")
    for tenth in range(10):
        time.sleep(seconds / 10)
        progress(tenth + 1, 10, "tenths")
    out.write_text(before.read_text() + "{name}\\n")
    metrics.write_text('{{"{name}": {{"seconds": %s}}}}' % seconds)
'''

PICTURES = '''"""The last stage of the test pipeline."""

from pathlib import Path
from typing import Annotated

from steerwright.dag import Dep, Out


def draw(left: Annotated[Path, Dep()], right: Annotated[Path, Dep()], report: Annotated[Path, Out("report")]) -> None:
    """Draw a contact sheet of two colours."""
    from PIL import Image

    report.mkdir()
    sheet = Image.new("RGB", (96, 32), "darkgreen")
    sheet.paste("white", (48, 0, 96, 32))
    sheet.save(report / "contact_sheet.png")
'''

PIPELINE = '''"""Two branches from one file, and a report of both."""

from steerwright.dag import File, stage
from tasks.draw import draw
from tasks.left import left
from tasks.right import right
from tasks.start import start

first = stage("winter-start", start, before=File("source.txt"))
one = stage("winter-left", left, before=first.out("out"), retries=1)
two = stage("winter-right", right, before=first.out("out"), tags=("gpu",), retries=1)
stage("winter-report", draw, left=one.out("out"), right=two.out("out"))
'''

STAGES = ("winter-start", "winter-left", "winter-right", "winter-report")


@dataclass(frozen=True)
class Server:
    """A running server, asked over plain HTTP so that a test does not depend on the client that it tests."""

    api_url: str
    home: Path

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON reply to a POST."""
        return ask_prefect(self.api_url, path, body)

    def get(self, path: str) -> Any:
        """The JSON reply to a GET."""
        return ask_prefect(self.api_url, path)

    def newest_flow_runs(self, **filters: Any) -> list[dict[str, Any]]:
        """Flow runs, the last one started first."""
        return self.post("/flow_runs/filter", {"sort": "START_TIME_DESC", **filters})

    def task_states(self, flow_run_id: str) -> dict[str, str]:
        """State names of the task runs of a flow run, waiting a moment for the ones that are still being recorded."""
        body = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
        states: dict[str, str] = {}
        for _ in range(40):
            states = {run["name"]: run["state_name"] for run in self.post("/task_runs/filter", body)}
            if states and not {"Pending", "Running"} & set(states.values()):
                break
            time.sleep(0.25)
        return states

    def artifacts(self, flow_run_id: str) -> dict[str, dict[str, Any]]:
        """Artifacts that a flow run made, by key."""
        found = self.post("/artifacts/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}})
        return {artifact["key"]: artifact for artifact in found}


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def prefect_environment(api_url: str, home: Path) -> dict[str, str]:
    """The environment of a process that shall know only this server and this home, with services that do not dawdle."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "DVC_"))}
    return kept | {
        "PREFECT_API_URL": api_url,
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
        "PREFECT_SERVER_TASKS_TAG_CONCURRENCY_SLOT_WAIT_SECONDS": "0.5",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
        "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.5",
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "OMP_NUM_THREADS": "1",
    }


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process that a test started to end, and wait for it."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of flows, bound to 127.0.0.1, with a home of its own."""
    home = tmp_path_factory.mktemp("prefect-home")
    port = free_port()
    server = Server(f"http://127.0.0.1:{port}/api", home)
    log = (home / "server.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=prefect_environment(server.api_url, home),
        cwd=home,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                if server.get("/health") is True:
                    break
            except OSError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"The server did not start:\n{(home / 'server.log').read_text()[-3000:]}")
            time.sleep(0.5)
        yield server
    finally:
        stop(process)
        log.close()


@dataclass(frozen=True)
class Checkout:
    """A project of its own: the repository's flows, a small pipeline, git and DVC."""

    root: Path
    server: Server

    def command(self, *words: str) -> subprocess.Popen[str]:
        """Start a command in the checkout, in a process group of its own, output captured."""
        return subprocess.Popen(
            words,
            cwd=self.root,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *words: str, ok: bool = True) -> str:
        """Run a command to its end and give its output; fails the test on another exit code than expected."""
        process = self.command(*words)
        output, _ = process.communicate(timeout=180)
        assert (process.returncode == 0) is ok, output
        return output

    def flow(self, *words: str, ok: bool = True) -> dict[str, Any]:
        """`python -m flows.winter`, and the flow run that it made."""
        self.run(sys.executable, "-m", "flows.winter", *words, ok=ok)
        return self.newest_run()

    def newest_run(self) -> dict[str, Any]:
        """The flow run of this checkout that started last."""
        [run, *_] = self.server.newest_flow_runs(flow_runs={"name": {"like_": self.revision}})
        return run

    @property
    def revision(self) -> str:
        """The commit as run names carry it."""
        return subprocess.check_output(["git", "rev-parse", "--short=10", "HEAD"], cwd=self.root, text=True).strip()

    @property
    def environment(self) -> dict[str, str]:
        """Only this server, and the checkout's own tasks and flows before the repository's."""
        return prefect_environment(self.server.api_url, self.root / ".prefect") | {
            "PYTHONPATH": f"{self.root}{os.pathsep}{REPOSITORY}",
            # Tests call `dvc` by its name.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }


@pytest.fixture
def checkout(prefect_server: Server, tmp_path: Path) -> Checkout:
    """A fresh checkout with the test pipeline, committed, nothing run yet."""
    root = tmp_path / "checkout"
    (root / "tasks" / "winter").mkdir(parents=True)
    shutil.copytree(REPOSITORY / "flows", root / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__main__.py", "run.sh"):
        shutil.copy(REPOSITORY / "tasks" / name, root / "tasks")
    (root / "tasks" / "__init__.py").write_text("")
    for name in ("start", "left", "right"):
        (root / "tasks" / f"{name}.py").write_text(TASK.format(name=name))
    (root / "tasks" / "draw.py").write_text(PICTURES)
    (root / "tasks" / "winter" / "__init__.py").write_text("")
    (root / "tasks" / "winter" / "pipeline.py").write_text(PIPELINE)
    (root / "source.txt").write_text(f"{tmp_path}\n")
    (root / ".gitignore").write_text("__pycache__/\n.prefect/\n/artifacts/.tmp/\n")
    (root / ".dvcignore").write_text("/artifacts/.tmp\n.prefect\n")
    (root / "params.yaml").write_text(
        "winter:\n  start:\n    seconds: 0.1\n  left:\n    seconds: 0.2\n  right:\n    seconds: 0.2\n"
    )
    # What `dvc init` makes; dvc.yaml is written by the engine.
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("")
    (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    made = Checkout(root, prefect_server)
    made.run("git", "init", "-q")
    made.run("git", "add", "-A")
    made.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "the pipeline")
    return made
