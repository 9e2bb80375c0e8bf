"""Processes of this machine that compute shards, started afresh and ended with the process that wants them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any

from steerkit.dag.runners import deaths_told
from steerkit.dag.shard_worker import ShardCall, pack, run_shard
from steerkit.terminal import write_what_can_be_written

TRIES = 3


class LocalProcesses:
    """`workers` processes, each of which imports the code anew. Several threads may compute with them."""

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
