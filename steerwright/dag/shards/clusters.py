"""The workers of a runner: some of our own on this machine, for as long as a stage needs them, or a cluster found."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerwright.dag.context import running_stage
from steerwright.dag.shards.runners import Runner
from steerwright.dag.shards.workers import THREAD_LIMITS, LocalProcesses
from steerwright.errors import UserError
from steerwright.loopback import go_direct

SECONDS_TO_CONNECT = 20
# Shards give back a few bytes; Ray would otherwise take a third of the memory for what tasks hand to each other.
RAY_STORE_BYTES = 100_000_000


@dataclass(frozen=True)
class Cluster:
    """A running cluster: how to reach it (None: this process's), and how many shards it computes at once.

    `processes`: those of the runner of that name.
    """

    address: str | None
    slots: int
    processes: LocalProcesses | None = None


_lock = threading.Lock()
_open: dict[Runner, tuple[ExitStack, Cluster, int]] = {}


def cluster_for_stage(runner: Runner, root: Path) -> Cluster:
    """The runner's cluster, until the running stage ends: a stage may map shards more than once.

    Raises:
        UserError: nothing answers at the runner's address.
        RuntimeError: no stage is running.
    """
    stage = running_stage()
    if stage is None:
        raise RuntimeError("shards are spread over processes inside a stage only")
    return stage.resources.enter_context(cluster_of(runner, root))


@contextmanager
def cluster_of(runner: Runner, root: Path) -> Iterator[Cluster]:
    """The runner's cluster; stages that need it at the same time share it, and the last one to leave ends it.

    Raises:
        UserError: nothing answers at the runner's address.
    """
    with _lock:
        if runner not in _open:
            stack = ExitStack()
            _open[runner] = (stack, stack.enter_context(_started(runner, root)), 0)
        stack, cluster, users = _open[runner]
        _open[runner] = (stack, cluster, users + 1)
    try:
        yield cluster
    finally:
        with _lock:
            stack, cluster, users = _open[runner]
            _open[runner] = (stack, cluster, users - 1)
            if users == 1:
                del _open[runner]
                stack.close()


def _started(runner: Runner, root: Path) -> AbstractContextManager[Cluster]:
    # Before the workers: they inherit it.
    go_direct()
    if runner.kind == "processes":
        return _processes(runner)
    return _dask_cluster(runner, root) if runner.kind == "dask" else _ray_cluster(runner, root)


@contextmanager
def _processes(runner: Runner) -> Iterator[Cluster]:
    with closing(LocalProcesses(runner.workers)) as started:
        yield Cluster(None, runner.workers, started)


def _search_path(root: Path) -> str:
    return os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))


def _environment(root: Path) -> dict[str, str]:
    """Variables of a local worker: the checkout's code, one thread."""
    quiet = {"DASK_LOGGING__DISTRIBUTED": "warning", "DO_NOT_TRACK": "1"}
    return {**dict.fromkeys(THREAD_LIMITS, "1"), **quiet, "PYTHONPATH": _search_path(root)}


@contextmanager
def _dask_cluster(runner: Runner, root: Path) -> Iterator[Cluster]:
    import dask.config
    from distributed import Client, LocalCluster

    # Every connection is a line otherwise; and Prefect's runner announces a dashboard that is switched off.
    for name in ("distributed", "prefect.task_runner.dask"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if runner.address is not None:
        refuse_silence("Dask scheduler", runner.address)
        try:
            with Client(runner.address, timeout=SECONDS_TO_CONNECT, set_as_default=False) as client:
                slots = sum(client.ncores().values())
        except (OSError, ValueError) as error:
            raise UserError(f"no Dask scheduler answers at {runner.address}: {error}") from error
        if slots == 0:
            raise UserError(f"the Dask scheduler at {runner.address} has no workers; start some with `dask worker`")
        yield Cluster(runner.address, slots)
        return
    # Also for whatever a worker imports before it is told: variables of the environment are read on import.
    with dask.config.set({"distributed.nanny.pre-spawn-environ": _environment(root)}):
        local = LocalCluster(
            n_workers=runner.workers, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None,
            # A share of the memory is no limit that a model could keep to.
            memory_limit=0, env=_environment(root),
        )  # fmt: skip
    with local:
        yield Cluster(local.scheduler_address, runner.workers)


@contextmanager
def _ray_cluster(runner: Runner, root: Path) -> Iterator[Cluster]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if runner.address is None:
        # Read on import: without it Ray turns 127.0.0.1 into this machine's address and listens to the network.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    settings: dict[str, Any]
    if runner.address is not None:
        refuse_silence("Ray cluster", runner.address)
        settings = {"address": runner.address, "runtime_env": {"env_vars": {"PYTHONPATH": _search_path(root)}}}
    else:
        settings = {
            # `local`, or it would join a cluster that somebody else runs on this machine.
            "address": "local", "num_cpus": runner.workers, "include_dashboard": False,
            "_node_ip_address": "127.0.0.1", "object_store_memory": RAY_STORE_BYTES,
            "runtime_env": {"env_vars": _environment(root)},
        }  # fmt: skip
    try:
        ray.init(**settings, namespace="steerwright", log_to_driver=False, logging_level="error")
    except Exception as error:
        # It has no class of its own for this: a version that differs, a token that is missing, a start that took long.
        hint = "; if that cluster asks for a token, set RAY_AUTH_MODE=token" if runner.address else ""
        raise UserError(f"no work with Ray at {runner.address or 'this machine'}: {error}{hint}") from error
    try:
        yield Cluster(None, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()


def refuse_silence(kind: str, address: str) -> None:
    """Ask the port first: Dask and Ray themselves go on trying, Ray for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"{address!r} is not the address of a {kind}; give HOST:PORT, or one as in tcp://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise UserError(f"no {kind} answers at {address}: {error}") from error
