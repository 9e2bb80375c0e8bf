"""How fast autoencoders train, here and elsewhere: rows a second, peak memory, FVU after equal rows.

    python -m benchmarks.sae                  d = 1280, n = 20,480, k = 32, batch 4096, on 2 threads
    python -m benchmarks.sae --quick          d = 512, n = 4096, k = 16, batch 1024
    python -m benchmarks.sae --only ours sae-lens
    python -m benchmarks.sae --threads 1 --processor-time     on a machine that others use at the same time

Peers: sae-lens, eai-sparsify and dictionary-learning, each in its own process and in an environment of its own under
.benchmarks/, which pip makes the first time. All train a TopK autoencoder on the same synthetic rows (sums of known
atoms), with Adam at the same learning rate, and take turns, so that whatever else the machine does falls on all alike.
The dense product [batch, d] x [d, n], which no method avoids, is timed in the same turns. Memory is what a process
holds at most beyond its libraries and its data. Rows a second are those of the median step, the first two left out.
With a CUDA device the same is measured there too, also with d = 3072, n = 49,152, k = 64. Exit code 1 when the bar is
missed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from typing import IO, Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.sae_peers.environment import python_of
from benchmarks.sae_peers.worker import ANSWER, Shape
from steerwright.sae.training.trainer import multiplies_bfloat16

LEFT_OUT = 2
"""First steps, in which libraries allocate and compile."""
FASTER, FASTER_BF16, OF_PRODUCT = {"cpu": 4.0, "cuda": 2.0}, 5.0, 1.8


@dataclass
class Times:
    """Seconds of each step, by the clock on the wall and by the processors' own."""

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    left_out: int = LEFT_OUT

    def add(self, answer: dict[str, list[float]]) -> None:
        self.seconds += answer.get("seconds", [])
        self.processor += answer.get("processor", [])

    def median(self, by_processor: bool) -> float:
        times = self.processor if by_processor else self.seconds
        return statistics.median(times[self.left_out :] or times)


@dataclass
class Entrant:
    """One row of the table: a library in a variant."""

    name: str
    module: str
    environment: str | None = None
    variant: str = ""
    times: Times = field(default_factory=Times)
    finish: dict[str, Any] = field(default_factory=dict)
    failure: str = ""
    process: subprocess.Popen[str] | None = None
    said: IO[str] = field(default_factory=lambda: tempfile.TemporaryFile("w+"))  # noqa: SIM115  as long as the process

    @property
    def ours(self) -> bool:
        return self.environment is None

    def start(self, shape: Shape) -> None:
        """Starts the process and builds the autoencoder; a failure is remembered, not raised."""
        try:
            python = sys.executable if self.environment is None else str(python_of(self.environment))
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            self.failure = str(error)
            return
        self.process = subprocess.Popen(
            [python, "-m", f"benchmarks.sae_peers.{self.module}", replace(shape, variant=self.variant).text()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            env=os.environ | {"STEERWRIGHT_BENCHMARK_DEVICE": shape.device, "OMP_NUM_THREADS": str(shape.threads)},
        )
        self.ask(do="start")

    def ask(self, **question: Any) -> dict[str, Any]:
        """The process's answer; empty once it has failed."""
        if self.process is None or self.failure:
            return {}
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
            while line and not line.startswith(ANSWER):
                line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.said.seek(0)
            errors = [line for line in self.said.read().splitlines() if re.match(r"[\w.]*(Error|Exception)\b", line)]
            self.failure = errors[-1] if errors else f"ended with {self.process.wait()}"
            return {}
        return json.loads(line.removeprefix(ANSWER))

    def stop(self) -> None:
        """Lets the process go."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def entrants(device: str) -> list[Entrant]:
    """Everyone, ours first."""
    return [
        Entrant("ours", "ours"),
        Entrant("ours, bf16 encoder", "ours", variant="bf16"),
        Entrant("sae-lens", "sae_lens", "sae-lens"),
        Entrant("sae-lens, sparse", "sae_lens", "sae-lens", variant="sparse"),
        Entrant("dictionary-learning", "dictionary_learning", "dictionary-learning"),
        Entrant(f"eai-sparsify{' (no Triton)' if device == 'cpu' else ''}", "sparsify", "eai-sparsify"),
    ]


class Product:
    """The dense product that every method needs, timed as torch does it at its best."""

    def __init__(self, shape: Shape) -> None:
        self._rows = torch.randn(shape.batch, shape.width, device=shape.device)
        self._weights = torch.randn(shape.latents, shape.width, device=shape.device)
        self._out = torch.empty(shape.batch, shape.latents, device=shape.device)
        self.times = Times(left_out=1)

    def turn(self, count: int) -> None:
        """Makes it `count` times."""
        for _ in range(count):
            started, used = time.perf_counter(), time.process_time()
            torch.mm(self._rows, self._weights.T, out=self._out)
            if self._out.is_cuda:
                torch.cuda.synchronize()
            self.times.seconds.append(time.perf_counter() - started)
            self.times.processor.append(time.process_time() - used)


def measure(shape: Shape, only: list[str], turn: int, by_processor: bool, console: Console) -> bool:
    """Prints the table of one shape. Returns whether the bar was reached."""
    taking = [each for each in entrants(shape.device) if not only or any(each.name.startswith(name) for name in only)]
    torch.set_num_threads(shape.threads)
    product = Product(shape)
    product.turn(1)
    try:
        for each in taking:
            each.start(shape)
        done = 0
        while done < shape.steps:
            count = min(turn, shape.steps - done)
            product.turn(1)
            for each in taking:
                each.times.add(each.ask(do="steps", count=count))
            done += count
        for each in taking:
            each.finish = each.ask(do="finish")
    finally:
        for each in taking:
            each.stop()
    by_processor = by_processor and shape.device == "cpu"
    console.print(table(shape, taking, product.times, by_processor))
    for each in taking:
        if each.failure:
            console.print(f"{each.name} did not run: {each.failure}", markup=False)
    return verdict(shape, taking, product.times, by_processor, console)


def table(shape: Shape, taking: list[Entrant], product: Times, by_processor: bool) -> Table:
    """One row for each entrant."""
    dense = product.median(by_processor)
    title = (
        f"TopK, d = {shape.width}, n = {shape.latents:,}, k = {shape.k}, batch {shape.batch}, {shape.steps} steps, "
        f"{shape.device}" + (f", {shape.threads} threads" if shape.device == "cpu" else "")
    )
    out = Table(title=title, title_justify="left")
    for name in ("", "rows/s", "s a step", "processor s", "times the product", "peak memory, MB", "FVU"):
        out.add_column(name, justify="left" if not name else "right")

    def speed(name: str, times: Times) -> list[str]:
        step = times.median(by_processor)
        return [
            name,
            f"{shape.batch / step:,.0f}",
            f"{times.median(False):.3f}",
            f"{times.median(True):.3f}",
            f"{step / dense:.2f}",
        ]

    out.add_row(*speed("the dense product alone", product), "", "")
    for each in taking:
        if each.failure:
            out.add_row(each.name, "did not run")
        else:
            measured = f"{each.finish['bytes'] / 1e6:,.0f}", f"{each.finish['fvu']:.4f}"
            out.add_row(*speed(each.name, each.times), *measured)
    return out


def verdict(shape: Shape, taking: list[Entrant], product: Times, by_processor: bool, console: Console) -> bool:
    """Prints how ours compares with every peer's speed, and with the best of them in FVU and memory."""
    peers = [each for each in taking if not each.ours and not each.failure]
    held, dense = True, product.median(by_processor)
    for each in taking:
        if not each.ours or each.failure:
            continue
        rounded = bool(each.variant)
        if rounded and not multiplies_bfloat16(torch.device(shape.device)):
            console.print(f"{each.name}: this processor has no bfloat16 instructions, so the product was float32")
        checks, step = [], each.times.median(by_processor)
        if not rounded:
            checks.append((f"{step / dense:.2f} times the product (bar {OF_PRODUCT})", step <= OF_PRODUCT * dense))
        if peers:
            bar = FASTER_BF16 if rounded and shape.device == "cpu" else FASTER[shape.device]
            for peer in peers:
                its = peer.times.median(by_processor)
                limit = f"; the product alone would be {its / dense:.2f}" if its < bar * dense else ""
                checks.append(
                    (f"{its / step:.2f} times as fast as {peer.name} (bar {bar:g}{limit})", its >= bar * step)
                )
            best = min(peers, key=lambda peer: peer.finish["fvu"])
            checks.append((f"FVU {each.finish['fvu']:.4f}, best peer {best.finish['fvu']:.4f}",
                           each.finish["fvu"] <= best.finish["fvu"]))  # fmt: skip
            leanest = min(peers, key=lambda peer: peer.finish["bytes"])
            checks.append(
                (f"{each.finish['bytes'] / leanest.finish['bytes']:.2f} of the memory of {leanest.name}",
                 each.finish["bytes"] <= leanest.finish["bytes"])
            )  # fmt: skip
        for text, passed in checks:
            console.print(f"{each.name}: {text}: {'yes' if passed else 'NO'}")
        held &= all(passed for _, passed in checks)
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small shape")
    parser.add_argument("--only", nargs="*", default=[], help="entrants whose names begin so")
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--turn", type=int, default=4, help="steps that an entrant makes before the next one's turn")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="judge a CPU by its processor time: for a machine that others use too, best with --threads 1",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, help="rows of a step")
    arguments = parser.parse_args()
    console = Console(width=120)

    def shape(width: int, latents: int, k: int, batch: int, device: str) -> Shape:
        return Shape(
            width=width,
            latents=latents,
            k=k,
            batch=arguments.batch or batch,
            steps=arguments.steps,
            learning_rate=2e-4 / (latents / 2**14) ** 0.5,
            device=device,
            threads=arguments.threads,
        )

    shapes = [shape(512, 4096, 16, 1024, "cpu") if arguments.quick else shape(1280, 20_480, 32, 4096, "cpu")]
    if torch.cuda.is_available():
        shapes.append(replace(shapes[0], device="cuda"))
        if not arguments.quick:
            shapes.append(shape(3072, 49_152, 64, 4096, "cuda"))
    return (
        0
        if all([measure(each, arguments.only, arguments.turn, arguments.processor_time, console) for each in shapes])
        else 1
    )


if __name__ == "__main__":
    sys.exit(main())
