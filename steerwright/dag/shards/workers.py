"""What runs where a shard is computed: the checkout's code, in the checkout's folder, and no other version of it."""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from steerwright.dag import project
from steerwright.dag.code import code_closure, digest_of_files
from steerwright.dag.shards.runners import deaths_told
from steerwright.errors import UserError
from steerwright.terminal import write_what_can_be_written

THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# What this process has imported: the digest of each module's sources, and the hash of each file. What is edited later
# is on the disk and not in the process.
_modules: dict[tuple[str, str], str] = {}
_files: dict[Path, str] = {}


@dataclass(frozen=True)
class ShardCall:
    """The function of a stage's shards, by name, so that the worker can enter the checkout before it imports it."""

    root: str
    module: str
    function: str
    digest: str
    """sha256 over the sources that the function's module imports, in the process that planned the shards."""
    threads: int | None
    """How many threads torch may use on the worker; None leaves it as the worker's owner set it."""

    @classmethod
    def of(cls, work: Callable[[Any], Any], root: Path, threads: int | None) -> ShardCall:
        """The call of ``work``, which must be a function of a module.

        Raises:
            ValueError: ``work`` is a lambda or was defined inside another function.
        """
        module, name = work.__module__, work.__qualname__
        if module == "__main__" or "<" in name:
            raise ValueError(f"{module}.{name} cannot be sent to another process: define it at the top of a module")
        return cls(str(root), module, name, digest_of_files(code_closure(module, root), root), threads)

    def resolve(self) -> Callable[[Any], Any]:
        """The function, imported from the checkout.

        Raises:
            UserError: the checkout is not there, differs from the planner's, or was edited since it was imported here.
        """
        root = Path(self.root)
        if not root.is_dir():
            raise UserError(f"the worker on {socket.gethostname()} has no {root}; every worker needs the same checkout")
        project.enter(root)
        imported = _modules.get((self.root, self.module))
        if imported != self.digest:
            self._refuse_other_code(root, imported)
            _modules[self.root, self.module] = self.digest
        if self.threads is not None:
            os.environ.update(dict.fromkeys(THREAD_LIMITS, str(self.threads)))
        found: Any = importlib.import_module(self.module)
        if self.threads is not None and "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.threads)
        for part in self.function.split("."):
            found = getattr(found, part)
        work: Callable[[Any], Any] = found
        return work

    def _refuse_other_code(self, root: Path, imported: str | None) -> None:
        host, files = socket.gethostname(), code_closure(self.module, root)
        if digest_of_files(files, root) != self.digest:
            raise UserError(f"{self.module} on {host} differs from the planner's; bring {root} up to date")
        now = {root / file: hashlib.sha256((root / file).read_bytes()).hexdigest() for file in files}
        edited = [path for path, content in now.items() if _files.setdefault(path, content) != content]
        if edited or imported is not None:
            what = edited[0].relative_to(root) if edited else self.module
            raise UserError(f"{what} was edited since a worker on {host} imported it; restart the workers")


def run_shard(call: ShardCall, packed: bytes) -> Any:
    """Compute one shard in this process, and give what the work returned."""
    work = call.resolve()
    return work(pickle.loads(packed))


def pack(job: Any) -> bytes:
    """A job on its way: its class is in the checkout's code, which nobody but the worker has imported."""
    return pickle.dumps(job)


# Processes of this machine that compute shards, started afresh and ended with the process that wants them.

TRIES = 3


class LocalProcesses:
    """`workers` processes, each of which imports the code again. Several threads may compute with them."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._pool = self._begun()

    def work(self, call: ShardCall) -> Callable[[Any], Any]:
        """The work of a shard as a function that waits while a process computes it.

        Where a process dies, what was under way on all of them is computed again by new ones; the third time it raises
        WorkersDied.
        """

        def compute(job: Any) -> Any:
            packed = pack(job)
            for _ in range(TRIES - 1):
                pool = self._pool
                try:
                    return pool.submit(run_shard, call, packed).result()
                except BrokenProcessPool:
                    self._replace(pool)
            with deaths_told(f"a shard of {call.function}"):
                return self._pool.submit(run_shard, call, packed).result()

        return compute

    def close(self) -> None:
        """End the processes; shards that were not begun never are."""
        self._pool.shutdown(cancel_futures=True)

    def _begun(self) -> ProcessPoolExecutor:
        # Spawned: a fork of a process in which torch has threads may wait for ever.
        return ProcessPoolExecutor(self._workers, multiprocessing.get_context("spawn"), initializer=_begin)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._pool is broken:
                self._pool = self._begun()


def _begin() -> None:
    # Ctrl-C goes to the whole group; it is the flow's process that decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    write_what_can_be_written()
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that is killed closes nothing, and a worker of concurrent.futures would wait for work for ever.
        wait([parent.sentinel])
        os._exit(1)
