"""What steering costs beside the plain `generate` of transformers, here and in other libraries.

    python -m benchmarks.language             Phi-3-mini's widths, two layers, 32 tokens, batches of 1 and 4
    python -m benchmarks.language --quick     a quarter of the widths
    python -m benchmarks.language --repeng PYTHON --steering-vectors PYTHON

The weights are random, float32 on a CPU. Each library runs in a process of its own on the same saved model; PYTHON is
that of an environment in which it is installed (repeng wants numpy < 2, steering-vectors transformers < 5). All add one
vector to every token after the first layer, and must write the same tokens. The processes take turns; in each turn a
plain call and a steered one follow each other, and the turn's ratio is of these two. Ratios are also given in processor
time, which neighbours on a busy machine disturb less. Exit code 1 when steerwright costs more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import IO, Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.language_peers import ANSWER

ALLOWED = 1.05
WIDTH, HEADS, INNER, LAYERS, VOCABULARY = 3072, 32, 8192, 2, 4000
PROMPT, LAYER, STRENGTH = 24, 0, 0.6
SEED = 11
ROOT = Path(__file__).resolve().parents[1]


def random_model(folder: Path, shrink: int) -> None:
    """Save a model of Phi-3-mini's shape, of two layers and a small vocabulary, with a tokenizer that loads."""
    from transformers import AutoTokenizer, Phi3Config, Phi3ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(str(ROOT / "models" / "seasons-lm"))
    torch.manual_seed(SEED)
    config = Phi3Config(
        vocab_size=VOCABULARY, hidden_size=WIDTH // shrink, intermediate_size=INNER // shrink, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS // shrink, num_key_value_heads=HEADS // shrink, pad_token_id=0, bos_token_id=1,
        eos_token_id=None, max_position_embeddings=4096,
    )  # fmt: skip
    Phi3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class Library:
    """A library at work in its process, and what its calls took."""

    def __init__(self, name: str, python: str, folder: Path, asked: dict[str, Any]) -> None:
        self.name = name
        self.times: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            [python, "-W", "ignore", str(ROOT / "benchmarks/language_peers.py"), name, str(folder), json.dumps(asked)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder,
        )  # fmt: skip

    def call(self, what: str, *, keep: bool = True) -> dict[str, Any]:
        sent, received = self._process.stdin, self._process.stdout
        assert sent is not None and received is not None
        sent.write(what + "\n")
        sent.flush()
        answer = _answer(received, self.name)
        if keep:
            self.times[what].append(answer)
        return answer

    def ratios(self, what: str, clock: str) -> list[float]:
        """Each turn's time over the plain call's of the same turn."""
        return [one[clock] / plain[clock] for one, plain in zip(self.times[what], self.times["plain"], strict=True)]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _answer(lines: IO[str], name: str) -> dict[str, Any]:
    for line in lines:
        if line.startswith(ANSWER):
            found: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
            return found
    raise SystemExit(f"{name} ended without an answer; its message is above")


def compare(folder: Path, pythons: dict[str, str], batch: int, options: argparse.Namespace) -> bool:
    """Measure one size of batch, print the table, and say whether the bar was met."""
    width = WIDTH // options.shrink
    generator = torch.Generator().manual_seed(SEED)
    asked = {
        "vector": torch.randn(width, generator=generator).tolist(),
        "layer": LAYER, "strength": STRENGTH, "tokens": options.tokens, "threads": options.threads,
        # Without BOS, which libraries treat differently.
        "ids": torch.randint(10, VOCABULARY, (batch, PROMPT), generator=generator).tolist(),
    }  # fmt: skip
    libraries = [Library(name, python, folder, asked) for name, python in pythons.items()]
    try:
        check_same(
            {one.name: [one.call(what, keep=False)["tokens"] for what in ("plain", "steered")] for one in libraries}
        )
        loads = [os.getloadavg()[0]]
        for turn in range(options.turns):
            for one in libraries:
                # In turn, so that neither call always comes first.
                calls = ["plain", "steered", *(["last"] if one.name == "steerwright" else [])]
                for what in calls if turn % 2 == 0 else calls[::-1]:
                    one.call(what)
            loads.append(os.getloadavg()[0])
    finally:
        for one in libraries:
            one.close()
    return _table(libraries, batch, width, loads, options)


def _table(libraries: list[Library], batch: int, width: int, loads: list[float], options: argparse.Namespace) -> bool:
    table = Table(
        title=f"{LAYERS} layers {width} wide, batch {batch}, {PROMPT} + {options.tokens} tokens, {options.threads} "
        f"thread(s), {options.turns} turns, load {min(loads):.1f} to {max(loads):.1f}"
    )
    for column in ("", "plain s", "steered s", "ratio", "spread", "processor ratio", "spread", "bar"):
        table.add_column(column, justify="right" if column else "left")
    met = True
    for one in libraries:
        for what in one.times:
            if what == "plain":
                continue
            found = {clock: one.ratios(what, clock) for clock in ("wall", "processor")}
            within = statistics.median(found["processor"]) <= ALLOWED
            ours = one.name == "steerwright"
            met &= within or not ours
            table.add_row(
                f"{one.name}{', last tokens' if what == 'last' else ''}",
                *(f"{statistics.median(t['wall'] for t in one.times[name]):.3f}" for name in ("plain", what)),
                *(text for clock in ("wall", "processor") for text in _ratio(found[clock])),
                ("met" if within else "missed") if ours else "",
            )
    Console(width=150).print(table)
    return met


def check_same(tokens: dict[str, list[list[list[int]]]]) -> None:
    """All libraries write the same tokens, and others when steered: else the times compare nothing."""
    first, *others = tokens.items()
    if first[1][0] == first[1][1]:
        raise SystemExit("the steered text is the plain one")
    for name, written in others:
        if written != first[1]:
            raise SystemExit(f"{name} and {first[0]} should write the same tokens")


def _ratio(found: list[float]) -> tuple[str, str]:
    return f"{statistics.median(found):.3f}", f"{min(found):.3f} to {max(found):.3f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", dest="shrink", action="store_const", const=4, default=1, help="a quarter of the widths"
    )
    parser.add_argument("--tokens", type=int, default=32, help="how many are written (default: 32)")
    parser.add_argument("--turns", type=int, default=7, help="how often the libraries take turns (default: 7)")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in every process (default: 1)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4], help="sizes of batches (default: 1 4)")
    parser.add_argument("--repeng", metavar="PYTHON", help="of an environment with repeng")
    parser.add_argument("--steering-vectors", metavar="PYTHON", help="of an environment with steering-vectors")
    options = parser.parse_args()
    pythons = {"steerwright": sys.executable}
    for name in ("repeng", "steering-vectors"):
        if python := getattr(options, name.replace("-", "_")):
            pythons[name] = python
    with tempfile.TemporaryDirectory() as folder:
        random_model(Path(folder), options.shrink)
        met = [compare(Path(folder), pythons, batch, options) for batch in options.batch]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
