"""How much memory collecting attention takes, by the number of prompts: started by `benchmarks.hooks --memory`."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from steerwright.activations.attention import attention_moments
from steerwright.models.attention_blocks import attention_blocks
from steerwright.models.load import load_model
from steerwright.models.spec import ModelSpec
from steerwright.prompts.suite import ContrastPair

COUNTS = (10, 100, 1000)


def collect(prompts: int) -> None:
    """Collect from so many prompts in this process, and print its memory: what `memory` starts."""
    import psutil

    model = load_model(ModelSpec(name="seasons-sd", source="models/seasons-sd", steps=1, guidance=4.0))
    blocks = attention_blocks(model.pipeline)
    subjects = ("house", "car", "boat", "horse", "tree")
    pairs = [ContrastPair(i, f"{i} {subjects[i % 5]} in winter", f"{i} {subjects[i % 5]}") for i in range(prompts // 2)]
    # Warm: libraries and caches that the first call loads are not what grows with prompts.
    attention_moments(model, pairs[:4], blocks, seeds=[0], batch_pairs=4)
    process = psutil.Process()
    before, peak, held = process.memory_info().rss, _Peak(process), _held()
    with peak:
        found = attention_moments(model, pairs, blocks, seeds=[0], batch_pairs=4)
    bytes_held = _held() - held
    assert all(int(sums.count[0]) == len(pairs) for sums in found.values())
    print(f"{prompts} {before / 2**20:.1f} {peak.highest / 2**20:.1f} {bytes_held / 2**20:.3f} {peak.seconds:.1f}")


def memory() -> None:
    """Peak memory by number of prompts, each in a process of its own."""
    table = Table(title="attention_moments on the embedded model: memory by number of prompts, MiB")
    for column in ("prompts", "process before", "process at its peak", "growth", "tensors of the result", "seconds"):
        table.add_column(column, justify="right")
    for count in COUNTS:
        command = [sys.executable, "-m", "benchmarks.hooks", "--collect", str(count)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        prompts, before, peak, held, seconds = said
        table.add_row(prompts, before, peak, f"{float(peak) - float(before):.1f}", held, seconds)
    Console(width=120).print(table)


class _Peak:
    """The highest resident memory while the block runs, looked at every 5 ms."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self.highest = 0
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._over = threading.Event()
        self._begun = time.perf_counter()

        def look() -> None:
            while not self._over.wait(0.005):
                self.highest = max(self.highest, self._process.memory_info().rss)

        self._thread = threading.Thread(target=look)
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self.seconds = time.perf_counter() - self._begun


def _held() -> int:
    """Bytes of all tensors that are alive, each memory once."""
    import gc

    gc.collect()
    storages = {}
    for found in gc.get_objects():
        if type(found) in (torch.Tensor, torch.nn.Parameter):
            storage = found.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())
