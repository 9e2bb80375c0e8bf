"""Two independent branches side by side, and what it costs to find that there is nothing to do.

    python -m benchmarks.dag                 engine, Prefect with a server of its own, and `dvc repro`
    python -m benchmarks.dag --no-prefect

The branches only sleep, so that nothing but the scheduling is measured. `branches` is from the start of the first to
the moment when both results are recorded (for `dvc repro`: in place). Exit code 1 if under Prefect that takes more than
15 % longer than the longer branch.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steerwright.loopback import go_direct
from tests.synthetic_project import Checkout, copy_checkout, make_checkout

BRANCHES = ("demo-left", "demo-right")
ALLOWED = 1.15


def main() -> int:
    go_direct()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each branch sleeps")
    parser.add_argument("--no-prefect", action="store_true")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="steerwright-dag-"))
    try:
        prepared = make_checkout(home / "prepared")
        prepared.call(["dvc", "repro", "demo-shards"])
        prepared.environment["SYNTHETIC_PAUSE"] = str(options.seconds)
        prepared.edit("params.yaml", "count: 8", "count: 1")
        print(f"{'door':34s} {'wall s':>8s} {'branches s':>11s} {'/ longer branch':>16s}")
        engine = copy_checkout(prepared, home / "engine")
        measure(
            "steerwright run, no server", engine, engine.steerwright("run", "demo", "--no-prefect"), options.seconds
        )
        under_prefect = 0.0
        with server(home, not options.no_prefect) as environment:
            flow = copy_checkout(prepared, home / "prefect")
            flow.environment.update(environment)
            if environment:
                command = [sys.executable, "-m", "flows.demo"]
                under_prefect = measure("Prefect, running server", flow, command, options.seconds)
            dvc = copy_checkout(prepared, home / "dvc")
            measure("dvc repro", dvc, ["dvc", "repro"], options.seconds)
            print(f"\n{'nothing to do':34s} {'wall s':>8s} {'processor s':>11s}")
            nothing("steerwright run, sizes and times", engine, engine.steerwright("run", "demo"))
            (engine.root / "params.yaml").touch()
            nothing("steerwright run, contents", engine, engine.steerwright("run", "demo", "--no-prefect"))
            if environment:
                nothing("Prefect, running server", flow, [sys.executable, "-m", "flows.demo"])
            nothing("dvc repro", dvc, ["dvc", "repro"])
        return 1 if under_prefect > ALLOWED else 0
    finally:
        shutil.rmtree(home, ignore_errors=True)


def measure(name: str, checkout: Checkout, command: list[str], seconds: float) -> float:
    """Run once, print a line, and return the time of both branches over that of the longer one."""
    checkout.forget()
    start = time.monotonic()
    checkout.call(command)
    wall = time.monotonic() - start
    times: dict[tuple[str, str], float] = {}
    for line in checkout.journal.read_text().splitlines():
        moment, what, stage, _ = line.split()
        times[what, stage] = float(moment)
    began = [times["started", stage] for stage in BRANCHES]
    ended = [times.get(("recorded", stage), times["placed", stage]) for stage in BRANCHES]
    both = max(ended) - min(began)
    print(f"{name:34s} {wall:8.1f} {both:11.2f} {both / seconds:16.2f}", flush=True)
    return both / seconds


def nothing(name: str, checkout: Checkout, command: list[str]) -> None:
    """Time a run that finds everything done: the best of three."""
    walls, processor = [], []
    for _ in range(3):
        before = os.times()
        start = time.monotonic()
        checkout.call(command)
        walls.append(time.monotonic() - start)
        after = os.times()
        processor.append(after.children_user + after.children_system - before.children_user - before.children_system)
        if "contents" in name:
            (checkout.root / "params.yaml").touch()
    print(f"{name:34s} {min(walls):8.2f} {min(processor):11.2f}", flush=True)


@contextmanager
def server(home: Path, wanted: bool) -> Iterator[dict[str, str]]:
    """A Prefect server on 127.0.0.1 for the time of the benchmark, as the environment that leads to it."""
    if not wanted:
        yield {}
        return
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_HOME": str(home / "prefect-home"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{environment['PREFECT_API_URL']}/health", timeout=1)
                break
            except (OSError, urllib.error.URLError):
                time.sleep(0.5)
        yield environment
    finally:
        process.terminate()
        process.wait(timeout=30)


if __name__ == "__main__":
    sys.exit(main())
