"""Shards in one process, in threads, in processes, on Dask and on Ray, also with a worker killed: are results the same?

    python -m benchmarks.runners                            a synthetic stage of 16 shards, through a Prefect server
    python -m benchmarks.runners --no-prefect               the same without a server

Each row is a fresh checkout. `equal`: dvc.lock says the same hashes as after one process. `computed`: how often the
work of a shard began; without a kill once each, and a killed worker may cost the one shard that it had under way.
`task runs`: what Prefect's API says of the shards' task runs. Exit code 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from steerwright.loopback import go_direct
from tests.synthetic_project import Checkout, copy_checkout, kill_a_worker, make_checkout, shard_runs

STAGE = "demo-shards"
ROWS = [
    ("one process", None, False), ("threads", "threads", False), ("processes", "processes", False),
    ("dask", "dask", False), ("ray", "ray", False), ("dask", "dask", True), ("ray", "ray", True),
]  # fmt: skip


@dataclass
class Row:
    """One run of the stage and how it ended."""

    runner: str
    killed: int | None
    seconds: float
    equal: bool
    computed: Counter[str]
    processes: int
    states: Counter[str] = field(default_factory=Counter)

    def problems(self, shards: int, server: bool) -> list[str]:
        """What is not as it should be."""
        again = sum(count - 1 for count in self.computed.values())
        found = [] if self.equal else ["other hashes than one process"]
        if len(self.computed) != shards:
            found.append(f"{len(self.computed)} shards computed instead of {shards}")
        if again > (self.killed is not None):
            found.append(f"{again} shards computed again")
        if server and sum(self.states.values()) != shards:
            found.append(f"Prefect knows {sum(self.states.values())} task runs of shards instead of {shards}")
        if server and set(self.states) - {"Completed", "Cached"}:
            found.append(f"task runs are {dict(self.states)}")
        return found


def main() -> int:
    go_direct()
    options = parse()
    with tempfile.TemporaryDirectory(prefix="steerwright-runners-", dir=options.folder) as folder:
        home = Path(folder)
        pristine = make_checkout(home / "pristine")
        pristine.edit("params.yaml", "count: 6 ", f"count: {options.shards} ")
        pristine.edit("params.yaml", "pause: 0.01", f"pause: {options.seconds}")
        with nullcontext() if options.no_prefect else prefect_server(home) as api:
            return benchmark(pristine, home, api, options.shards, options.workers)


def benchmark(pristine: Checkout, home: Path, api: str | None, shards: int, workers: int) -> int:
    expected: dict[str, str] = {}
    failed = False
    print("runner       killed    seconds  equal  computed  again  processes  task runs")
    for number, (name, runner, kill) in enumerate(ROWS):
        checkout = copy_checkout(pristine, home / f"row-{number}")
        row = run(checkout, name, runner, kill, api, shards, workers, expected)
        expected = expected or checkout.hashes()
        again = sum(row.computed.values()) - len(row.computed)
        states = ", ".join(f"{count} {state}" for state, count in row.states.items()) or "-"
        print(
            f"{row.runner:12s} {row.killed or '-'!s:>7} {row.seconds:9.1f}  {'yes' if row.equal else 'NO':5s}  "
            f"{sum(row.computed.values()):8d} {again:6d} {row.processes:10d}  {states}",
            flush=True,
        )
        for problem in row.problems(shards, api is not None):
            failed = True
            print(f"  FAILED: {problem}")
    return int(failed)


def run(
    checkout: Checkout, name: str, runner: str | None, kill: bool, api: str | None, shards: int, workers: int,
    expected: dict[str, str],
) -> Row:  # fmt: skip
    log = checkout.root.parent / f"{checkout.root.name}.shards"
    checkout.environment["SYNTHETIC_SHARD_LOG"] = str(log)
    if runner is not None:
        checkout.environment |= {"STEERWRIGHT_RUNNER": runner, "STEERWRIGHT_RUNNER_WORKERS": str(workers)}
    command = checkout.steerwright("run", STAGE, "--no-prefect")
    if api is not None:
        checkout.environment |= {"PREFECT_API_URL": api, "DO_NOT_TRACK": "1"}
        # A commit of its own, because flow runs are named by it.
        (checkout.root / "which.txt").write_text(checkout.root.name)
        checkout.git("add", "-A")
        checkout.git("commit", "-q", "-m", "which")
        command = [sys.executable, "-m", "flows.demo", STAGE]
    said = checkout.root.parent / f"{checkout.root.name}.log"
    start = time.monotonic()
    with said.open("w") as output:
        process = subprocess.Popen(
            command, cwd=checkout.root, env=checkout.env(), stdout=output, stderr=subprocess.STDOUT
        )
        killed = kill_a_worker(log, after=shards // 3, unless_ended=process) if kill else None
        if process.wait() != 0:
            raise RuntimeError(f"{name} ended with {process.returncode}:\n{said.read_text()[-4000:]}")
    seconds = time.monotonic() - start
    lines = [line.split() for line in log.read_text().splitlines()]
    found = checkout.hashes()
    return Row(
        name,
        killed,
        seconds,
        not expected or found == expected,
        Counter(shard for what, shard, _ in lines if what == "began"),
        len({pid for _, _, pid in lines}),
        Counter(run["state_name"] for run in shard_runs(api, checkout)) if api else Counter(),
    )


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """A Prefect server on 127.0.0.1 with a database of its own; yields the address of its API."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {
        "PREFECT_HOME": str(home / "prefect"), "PREFECT_API_URL": api, "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }  # fmt: skip
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=environment, cwd=home, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            for _ in range(240):
                try:
                    with urllib.request.urlopen(f"{api}/health", timeout=2) as reply:
                        if json.load(reply) is True:
                            break
                except OSError:
                    time.sleep(0.5)
            yield api
        finally:
            process.terminate()
            process.wait()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=0.5, help="how long a shard takes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-prefect", action="store_true", help="without a Prefect server")
    parser.add_argument("--folder", type=Path, help="where to put the checkouts (default: the temporary folder)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
