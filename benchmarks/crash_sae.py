"""kill -9 at random moments of training autoencoders and of collecting their rows: is anything lost or done twice?

    python -m benchmarks.crash_sae --runs 10 --seed 1                 both, ten kills each
    python -m benchmarks.crash_sae --only training --kills 3          three kills in every run

Training: four autoencoders from one store; the next run must begin at the last checkpoint that was on the disk at the
kill, and end with the bits of a run that nothing disturbed. Collection: shards of the embedded model; the next run must
leave finished shards as they are (inode and time of every file) and end with the same bytes in every file. Every run is
a process of its own, forked when libraries and model are loaded, so that kills fall into the work and not before it.
Everything happens in a temporary folder. Exit code 1 if any run fails in any of this.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # forked processes cannot use threads that their parent has begun
os.environ["STEERWRIGHT_DEVICE"] = "cpu"

import torch

from steerwright.activations.denoiser import collect_shard, commit_collection
from steerwright.activations.shard_plan import CollectedPrompt, Collection, plan_collection
from steerwright.activations.store.format import MANIFEST
from steerwright.activations.store.loader import RowLoader
from steerwright.activations.store.reader import open_store
from steerwright.activations.store.rows import Rows
from steerwright.activations.store.writer import StoreWriter
from steerwright.models.families import Step
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.identify import fingerprint
from steerwright.models.load import load_once
from steerwright.models.spec import ModelSpec
from steerwright.sae.training import loop as training
from steerwright.sae.training.config import sae_config
from steerwright.sae.training.stream import StoreStream

REPOSITORY = Path(__file__).resolve().parent.parent
PARTS = ("training", "collection")
SHARDS, BATCH = 6, 512
MIDDLE = Hookpoint.parse("unet.mid_block:out")
SEASONS = ModelSpec(name="seasons", source=str(REPOSITORY / "models" / "seasons-sd"), steps=20, guidance=4.0)
Work = Callable[[Path, int], dict[str, Any]]


@dataclass
class Trial:
    """Some kills, one run to the end, and what came of them."""

    number: int
    kept: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Run:
    """A process at work in `folder`; what it says at its end is a digest of its result, and more."""

    def __init__(self, work: Work, folder: Path, rows: int) -> None:
        context = get_context("fork")
        self._hear, say = context.Pipe(duplex=False)
        self._process = context.Process(target=_at_work, args=(work, folder, rows, say))
        self._process.start()
        say.close()

    def kill(self, after: float) -> None:
        """kill -9 so many seconds from now, unless it has ended by itself."""
        self._process.join(timeout=after)
        if self._process.is_alive():
            assert self._process.pid is not None
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()

    def result(self) -> dict[str, Any]:
        """Wait for the end."""
        try:
            found: dict[str, Any] = self._hear.recv()
        except EOFError:
            self._process.join()
            raise SystemExit(f"a run that was not killed ended with {self._process.exitcode}") from None
        self._process.join()
        return found


def _at_work(work: Work, folder: Path, rows: int, say: Connection) -> None:
    start = time.monotonic()
    found = work(folder, rows)
    say.send({"seconds": time.monotonic() - start, **found})
    say.close()


def main() -> int:
    options = parse()
    torch.set_num_threads(1)
    home = Path(tempfile.mkdtemp(prefix="steerwright-crash-sae-", dir=options.folder))
    print(f"in {home}")
    try:
        return max(benchmark(part, home / part, options) for part in PARTS if options.only in (None, part))
    finally:
        if not options.keep:
            shutil.rmtree(home, ignore_errors=True)


def benchmark(part: str, home: Path, options: argparse.Namespace) -> int:
    chance = random.Random(options.seed)
    home.mkdir()
    work: Work = train if part == "training" else collect
    if part == "training":
        make_store(home / "store")
    else:
        load_once(SEASONS, fingerprint(SEASONS).digest)
    expected = Run(work, home / "undisturbed", options.rows).result()
    print(f"{part}, undisturbed: {expected['seconds']:.1f} s", flush=True)
    failed = 0
    for number in range(1, options.runs + 1):
        trial, folder = Trial(number), home / f"run-{number}"
        for _ in range(options.kills):
            after = chance.uniform(0, expected["seconds"])
            Run(work, folder, options.rows).kill(after)
            held = state(part, folder)
            what = f"{held['step']} steps" if part == "training" else f"{len(held)} files"
            trial.kept.append(f"after {after:5.2f} s: {what} kept")
        before = state(part, folder)
        found = Run(work, folder, options.rows).result()
        check(trial, part, folder, before, expected, found)
        failed += bool(trial.problems)
        print(f"{number:3d}  {'; '.join(trial.kept):40s}  {'FAILED' if trial.problems else 'ok'}", flush=True)
        for problem in trial.problems:
            print(f"     {problem}")
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{part}: {options.runs - failed} of {options.runs} recovered without loss\n", flush=True)
    return 1 if failed else 0


def state(part: str, folder: Path) -> dict[str, Any]:
    """What is finished on the disk: the checkpoint's step, or inode and time of the files of finished shards."""
    if part == "training":
        path = folder / "work" / "training.safetensors"
        if not path.is_file():
            return {"step": 0}
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return {"step": json.loads(header["__metadata__"]["steerwright"])["facts"]["step"]}
    listed: list[Any] = []
    for path in folder.glob("rows/*.json"):
        content = json.loads(path.read_text())
        # Of a store that was committed, the manifest says what is finished; before, a small file for each shard.
        listed += content["shards"] if path.name == MANIFEST else [content["shard"]]
    found = {}
    for file in (file for shard in listed for file in shard["files"]):
        stat = (folder / "rows" / file["path"]).stat()
        found[file["path"]] = (stat.st_ino, stat.st_mtime_ns)
    return found


def check(
    trial: Trial, part: str, folder: Path, before: dict[str, Any], expected: dict[str, Any], found: dict[str, Any]
) -> None:
    if found["digest"] != expected["digest"]:
        trial.problems.append(f"the result is {found['digest'][:12]} instead of {expected['digest'][:12]}")
    if part == "training" and found["began"] != before["step"]:
        trial.problems.append(f"it began at step {found['began']}, though the checkpoint was of step {before['step']}")
    if part == "collection":
        for name, stamp in before.items():
            stat = (folder / "rows" / name).stat()
            if (stat.st_ino, stat.st_mtime_ns) != stamp:
                trial.problems.append(f"{name} was finished and was made again")


def make_store(folder: Path) -> None:
    """6 shards of sparse sums of planted directions: 48 prompts, 256 tokens, 4 steps, d = 64."""
    model = Fingerprint(name="planted", source="planted", revision=None, digest="0" * 64, libraries={})
    random_ = torch.Generator().manual_seed(0)
    atoms = torch.randn(256, 64, generator=random_)
    with StoreWriter(folder, model=model, dtype="float32", hookpoints=[MIDDLE], provenance={}) as writer:
        for shard in range(SHARDS):
            ids = [f"{shard}-{number}" for number in range(8)]
            rows = []
            for step in range(4):
                active = torch.rand(8, 256, 256, generator=random_)
                active = torch.where(active > 0.97, active, 0)
                rows.append(Rows(MIDDLE, active @ atoms, ids, [0] * 8, Step(step, 1.0, 1.0), "cond", (16, 16)))
            writer.write_shard(f"{shard}-of-{SHARDS}", f"{shard:064d}", ids, rows)


def train(folder: Path, rows: int) -> dict[str, Any]:
    configs = {
        "topk": sae_config(architecture="topk", latents=512, k=8, dead_after_rows=20_000),
        "batchtopk": sae_config(architecture="batchtopk", latents=512, k=8, seed=1, dead_after_rows=20_000),
        "matryoshka": sae_config(architecture="matryoshka", latents=512, k=8, seed=2),
        "jumprelu": sae_config(architecture="jumprelu", latents=256, l0=0.01, seed=3),
    }
    store = open_store(folder.parent / "store")
    stream = StoreStream({MIDDLE: RowLoader(store, MIDDLE, batch_rows=BATCH, pool_rows=8192, seed=1)})
    told: list[int] = []
    done = training.train_saes(
        stream, {name: training.Planned(MIDDLE, config) for name, config in configs.items()}, folder / "work",
        rows=rows, batch_rows=BATCH, checkpoint_rows=10 * BATCH, progress=lambda here, _: told.append(here // BATCH),
    )  # fmt: skip
    digest = hashlib.sha256()
    for name in sorted(done.saes):
        sae = done.saes[name]
        for tensor in (sae.encoder, sae.encoder_bias, sae.decoder, sae.decoder_bias):
            digest.update(tensor.numpy().tobytes())
    digest.update(json.dumps(done.curves.points, sort_keys=True).encode())
    stream.close()
    # There is a point, and so a word of progress, after every step of this few.
    return {"digest": digest.hexdigest(), "began": told[0] - 1 if told else -(-rows // BATCH)}


def collect(folder: Path, rows: int) -> dict[str, Any]:  # noqa: ARG001 - the other part's
    model = load_once(SEASONS, fingerprint(SEASONS).digest)
    prompts = [
        CollectedPrompt(id=f"p{number}", prompt="a house in winter", split="train", seed=number)
        for number in range(2 * SHARDS)
    ]
    collection = Collection(
        hookpoints=("unet.mid_block.attentions.0", "unet.up_blocks.1.attentions.1"), steps=(0, 5, 10), batch_size=2,
        prompts_per_shard=2,
    )  # fmt: skip
    jobs = plan_collection(model, prompts, collection, folder / "rows")
    for job in jobs:
        collect_shard(job)
    commit_collection(jobs)
    digest = hashlib.sha256()
    for path in sorted((folder / "rows").iterdir()):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return {"digest": digest.hexdigest()}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--kills", type=int, default=1, help="kills before a run is left in peace")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=102_400, help="rows that are trained on")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    options = parser.parse_args()
    if options.rows > BATCH * training.POINTS:
        parser.error(f"--rows: at most {BATCH * training.POINTS}, or not every step could be told apart")
    return options


if __name__ == "__main__":
    sys.exit(main())
