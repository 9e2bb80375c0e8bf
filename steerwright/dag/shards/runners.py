"""Which runner has the shards of a stage, by the command line or by the environment."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from steerwright.errors import UserError
from steerwright.former_name import refuse_former_settings

if TYPE_CHECKING:
    from steerwright.dag.declarations import Stage

Kind = Literal["threads", "processes", "dask", "ray"]
KINDS: tuple[str, ...] = get_args(Kind)

KIND, ADDRESS, WORKERS = "STEERWRIGHT_RUNNER", "STEERWRIGHT_RUNNER_ADDRESS", "STEERWRIGHT_RUNNER_WORKERS"

LOCAL_WORKERS = 2
EVERYTHING = "everything"
# As concurrent.futures, Dask, Ray and Prefect name it.
_DEATHS = {"BrokenProcessPool", "KilledWorker", "WorkerCrashedError", "OutOfMemoryError", "NodeDiedError", "CrashedRun"}
LOCAL: tuple[str, ...] = ("threads", "processes")
"""Kinds that are this machine's own."""


class WorkersDied(UserError):
    """Workers died, one after the other, each while it computed the same shard."""


@dataclass(frozen=True)
class Runner:
    """A kind of runner; ``address``: of a cluster that is there, else ``workers`` are started on this machine."""

    kind: Kind
    address: str | None = None
    workers: int = LOCAL_WORKERS

    @property
    def worker_threads(self) -> int | None:
        """Threads of torch in one worker: 1 in workers of ours; None, as their owner set it, in those of a cluster."""
        return None if self.address else 1


def chosen() -> Runner | None:
    """The runner that the environment names; None: one shard after the other, in the stage's own process.

    Raises:
        UserError: a name, an address or a number of workers that cannot be, or the runner is not installed.
    """
    refuse_former_settings("RUNNER", "RUNNER_ADDRESS", "RUNNER_WORKERS")
    kind, address = os.environ.get(KIND) or None, os.environ.get(ADDRESS) or None
    workers = os.environ.get(WORKERS) or str(LOCAL_WORKERS)
    if kind is None:
        return None
    if kind not in KINDS:
        raise UserError(f"there is no runner {kind!r}; known are {', '.join(KINDS)}")
    if address is not None and kind in LOCAL:
        raise UserError(f"the runner `{kind}` has no address; leave {address!r} out, or choose dask or ray")
    if not workers.isdecimal() or int(workers) < 1:
        raise UserError(f"{workers!r} workers: give a whole number from 1 upwards")
    runner = Runner(kind, address, int(workers))  # type: ignore[arg-type]
    _require(runner)
    return runner


def choose(kind: str | None, address: str | None, workers: int | None) -> None:
    """Write what the command line says into the environment, where chosen() and child processes read it.

    Raises:
        UserError: as chosen() does, for an address or a number of workers without a runner, and for both of them.
    """
    if address is not None and workers is not None:
        raise UserError("--runner-workers is for a cluster of its own, but --runner-address names one that is there")
    for name, value in ((KIND, kind), (ADDRESS, address), (WORKERS, None if workers is None else str(workers))):
        if value is not None:
            os.environ[name] = value
    if (address is not None or workers is not None) and not os.environ.get(KIND):
        raise UserError("--runner-address and --runner-workers say where the shards run; give --runner dask or ray too")
    chosen()


def check_useful(kind: str | None, targets: Sequence[str], stages: Mapping[str, Stage]) -> None:
    """Raise UserError for a runner asked for by name where none of ``targets``, pipelines or stages, has shards."""
    if kind is None:
        return
    meant = [one for one in stages.values() if {one.name, one.pipeline, EVERYTHING} & set(targets)]
    if meant and not any(_has_shards(one) for one in meant):
        able = ", ".join(dict.fromkeys(one.pipeline for one in stages.values() if _has_shards(one)))
        raise UserError(
            f"--runner {kind} says where shards run, and {', '.join(targets)} has none; leave it out ({able} have some)"
        )


def _has_shards(stage: Stage) -> bool:
    return "map_shards" in stage.function.__code__.co_names


def _require(runner: Runner) -> None:
    if runner.kind in LOCAL:
        return
    module = "distributed" if runner.kind == "dask" else "ray"
    if importlib.util.find_spec(module) is None or importlib.util.find_spec(f"prefect_{runner.kind}") is None:
        raise UserError(f"the runner {runner.kind!r} is not installed; pip install 'steerwright[{runner.kind}]'")


@contextmanager
def deaths_told(shard: str) -> Iterator[None]:
    """Turn what is said when the workers of ``shard`` died, by whichever runner, into a UserError with advice."""
    try:
        yield
    except Exception as error:
        names = {kind.__name__ for kind in type(error).__mro__}
        if not names & _DEATHS:
            raise
        raise WorkersDied(
            f"every worker that took {shard} died at it; if memory ran out, have fewer at a time: --runner-workers 1"
        ) from error
