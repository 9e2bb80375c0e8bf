"""The process in which one library trains: it is told by lines of JSON what to do and answers with one line for each.

{"do": "start"} builds the autoencoder; {"do": "steps", "count": 4} trains on the next batches and gives the seconds of
each; {"do": "finish"} gives FVU on held-out rows and the most memory that was held since just before the start.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

HELD_OUT = 1_000_003
ANSWER = "answer: "
"""How a line begins that is an answer; whatever else is on standard output a library printed while it was imported."""


@dataclass(frozen=True)
class Shape:
    """What is trained: width d, latents n, k active, `batch` rows a step, `steps` in all."""

    width: int
    latents: int
    k: int
    batch: int
    steps: int
    learning_rate: float
    device: str
    threads: int
    variant: str = ""

    def text(self) -> str:
        return json.dumps(asdict(self))


class Contender(Protocol):
    """A library's autoencoder under training."""

    def step(self, rows: Tensor) -> None: ...

    def reconstruct(self, rows: Tensor) -> Tensor: ...


def serve(make: Callable[[Shape, Tensor], Contender]) -> None:
    """Answers on what was standard output; whatever the library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    shape = Shape(**json.loads(sys.argv[1]))
    torch.set_num_threads(shape.threads)
    source = PlantedRows(shape.width, shape.latents // 2)
    contender: Contender | None = None
    trained = 0
    for line in sys.stdin:
        asked = json.loads(line)
        answer: dict[str, Any] = {}
        if asked["do"] == "start":
            first = source.batch(shape.batch, 0).to(shape.device)
            before = _reset_memory(shape.device)
            contender = make(shape, first)
        elif asked["do"] == "steps":
            assert contender is not None
            answer = {"seconds": [], "processor": []}
            for _ in range(asked["count"]):
                rows = source.batch(shape.batch, trained).to(shape.device)
                trained += 1
                _wait(shape.device)
                started, used = time.perf_counter(), time.process_time()
                contender.step(rows)
                _wait(shape.device)
                answer["seconds"].append(time.perf_counter() - started)
                answer["processor"].append(time.process_time() - used)
        else:
            assert contender is not None
            peak = _peak_memory(shape.device)
            rows = source.batch(shape.batch, HELD_OUT).to(shape.device)
            with torch.no_grad():
                missed = (rows - contender.reconstruct(rows)).double().square().sum()
            answer = {
                "fvu": float(missed / (rows - rows.mean(0)).double().square().sum()),
                "bytes": peak - before,
                "rows": trained * shape.batch,
            }
        answers.write(ANSWER + json.dumps(answer) + "\n")
        answers.flush()


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _reset_memory(device: str) -> int:
    """Forgets the peak so far. Returns the bytes held now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak_memory(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device == "cuda" else _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


# Synthetic rows: sums of few known atoms, about a mean, with noise. The same on every machine for a seed.

ACTIVE = 24
NOISE = 0.05


class PlantedRows:
    """Rows of `width` numbers, each the sum of 24 of `atoms` unit directions that are chosen by Zipf's law.

    The seed is none that a library would start its own directions from: with the same one it would know the atoms.
    Strengths are exponential plus a half. The mean norm is near sqrt(width); noise has 5 % of that, the mean 30 %.
    """

    def __init__(self, width: int, atoms: int, seed: int = 20_480_000) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.atoms = functional.normalize(torch.randn(atoms, width, generator=generator), dim=1)
        self.mean = 0.3 * torch.randn(width, generator=generator)
        self._share = 1 / torch.arange(1, atoms + 1, dtype=torch.float64) ** 0.7
        self._width = width

    def batch(self, rows: int, seed: int) -> Tensor:
        """Float32 [rows, width]; another seed, other rows of the same atoms."""
        generator = torch.Generator().manual_seed(seed)
        # With replacement: a row that draws an atom twice has it twice as strong, and drawing stays fast.
        chosen = torch.multinomial(self._share, rows * ACTIVE, True, generator=generator).view(rows, ACTIVE)
        strength = 0.5 + torch.empty(rows, ACTIVE).exponential_(generator=generator)
        # E[strength^2] = 3.25; so scaled, the atoms' part has norm sqrt(width).
        strength *= (self._width / (3.25 * ACTIVE)) ** 0.5
        noise = NOISE * torch.randn(rows, self._width, generator=generator)
        return functional.embedding_bag(chosen, self.atoms, mode="sum", per_sample_weights=strength) + self.mean + noise
