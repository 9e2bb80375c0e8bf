"""What the activation store costs on the embedded model, and how fast it is read.

    python -m benchmarks.store                       all of it: 8 GB of disk (in --folder), some minutes
    python -m benchmarks.store --pictures 64         how many pictures are really made
    python -m benchmarks.store --only write memory   some of: write, memory, read, open, hash

`write` makes pictures and times what the writer does meanwhile. `memory` writes the rows of 1,000 and of 10,000
pictures, each in a process of its own: the rows of a real batch over and over, under other ids and seeds. `read`
copies every value of such a store out of its files, and lets `cat` read the same files; cold: after the system was
told to forget them. `open` opens a store of 50 GB, whose files are real but for the zeros in them, which are holes;
and asks `steerwright status` in a project that it is an output of. Exit code 1 when a bar is missed: 5 % of the time of
generation, 300 MB, 80 % of `cat`, a second, 0.3 seconds.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.clock import Clock, watched_memory
from benchmarks.sparse_store import write_sparse_store
from steerwright.activations.denoiser import BATCH_BYTES, collect_rows
from steerwright.activations.shard_plan import CollectedPrompt, Collection
from steerwright.activations.store.format import Manifest, Shard
from steerwright.activations.store.reader import open_store
from steerwright.activations.store.rows import Rows, dtype_name
from steerwright.activations.store.writer import ShardWriter
from steerwright.dag import up_to_date
from steerwright.models.identify import fingerprint
from steerwright.models.load import LoadedModel, load_once
from steerwright.models.spec import ModelSpec
from tests.synthetic_project import make_checkout

SPEC = ModelSpec(name="seasons-sd", source="models/seasons-sd", steps=20, guidance=4.0)
# Two hookpoints, and files of 42 and 84 MB.
COLLECTION = Collection(
    hookpoints=("unet.mid_block.attentions.0", "unet.up_blocks.1.attentions.1"), batch_size=16, prompts_per_shard=256
)
PARTS = ("write", "memory", "read", "open", "hash")
COUNTS = (1_000, 10_000)
BIG = 50 * 10**9
MEGABYTE = 10**6


@dataclass
class Bar:
    """A line of the table; `held` is None where nothing is demanded."""

    what: str
    measured: str
    bar: str = ""
    held: bool | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the stores are written; default: a temporary one"
    )
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="pictures whose rows are written")
    parser.add_argument("--replay", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.replay is not None:
        replay(options.replay, options.folder)
        return 0
    home = Path(tempfile.mkdtemp(prefix="steerwright-store-", dir=options.folder))
    lines: list[Bar] = []
    try:
        if "write" in options.only:
            lines += write(options.pictures, home / "write")
        stores = [home / str(count) for count in options.counts]
        if {"memory", "read", "hash"} & set(options.only):
            wanted = stores if "memory" in options.only else stores[-1:]
            for store in wanted:
                lines += memory(int(store.name), store)
        if "read" in options.only:
            lines += read(stores[-1])
        if "hash" in options.only:
            lines += rehash(stores[-1])
        if "open" in options.only:
            lines += opening(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    table = Table(title=f"the activation store, {torch.get_num_threads()} threads")
    for column in ("what", "measured", "bar", ""):
        table.add_column(column)
    for line in lines:
        table.add_row(line.what, line.measured, line.bar, {None: "", True: "held", False: "MISSED"}[line.held])
    Console(width=140).print(table)
    return 1 if any(line.held is False for line in lines) else 0


def write(pictures: int, folder: Path) -> list[Bar]:
    """Really make pictures' rows, and time the writer inside of it."""
    model, prompts, spent = _model(), _prompts(pictures), Clock()
    collect_rows(model, prompts[:16], COLLECTION, lambda _: None)  # warm
    folder.mkdir(parents=True)
    whole, size = Clock(), 0
    with whole:
        for shard, some in _shards(prompts):
            with _writer(folder, shard, some, model) as writer:

                def take(rows: Rows, writer: ShardWriter = writer) -> None:
                    with spent:
                        writer.add(rows)

                collect_rows(model, some, COLLECTION, take)
                with spent:
                    size += sum(file.bytes for file in writer.commit().files)
    wall, processor = whole.wall - spent.wall, whole.processor - spent.processor
    share = spent.wall / wall
    return [
        Bar(f"generation, {pictures} pictures", f"{wall / pictures * 1000:.0f} ms a picture"),
        Bar(
            "writing meanwhile", f"{spent.wall / pictures * 1000:.2f} ms, {size / pictures / MEGABYTE:.2f} MB a picture"
        ),
        Bar("writing / generation", f"{share:.2%} (processor {spent.processor / processor:.2%})", "5 %", share <= 0.05),
    ]


def memory(pictures: int, folder: Path) -> list[Bar]:
    """The rows of so many pictures in a process of its own: what it says of its memory and time."""
    command = [sys.executable, "-m", "benchmarks.store", "--replay", str(pictures), "--folder", str(folder)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    model, peak, seconds, size = (float(part) for part in said)
    grown = (peak - model) / MEGABYTE
    what = f"rows of {pictures:,} pictures ({size / 1e9:.2f} GB)"
    said = f"{grown:.0f} MB over the model's {model / MEGABYTE:.0f} MB; {seconds / pictures * 1000:.2f} ms a picture"
    return [Bar(what, said, "300 MB", grown <= 300)]


def replay(pictures: int, folder: Path) -> None:
    """In a process of its own: write the rows of so many pictures; prints memory before and at most, seconds, bytes."""
    model, prompts = _model(), _prompts(pictures)
    size = COLLECTION.batch_size
    with watched_memory() as generating:
        for _ in range(2):
            collect_rows(model, prompts[:size], COLLECTION, lambda _: None)
    kept: list[Rows] = []
    collect_rows(model, prompts[:size], COLLECTION, lambda rows: kept.append(replace(rows, values=rows.values.clone())))
    held = sum(rows.values.nbytes for rows in kept)
    folder.mkdir(parents=True)
    begun, shards = time.perf_counter(), []
    with watched_memory() as writing:
        for name, some in _shards(prompts):
            with _writer(folder, name, some, model) as writer:
                for start in range(0, len(some), size):
                    batch = some[start : start + size]
                    ids, seeds = [one.id for one in batch], [one.seed for one in batch]
                    for rows in kept:
                        writer.add(replace(rows, values=rows.values[: len(batch)], prompts=ids, seeds=seeds))
                shards.append(writer.commit())
    seconds = time.perf_counter() - begun
    _manifest(model, shards).write(folder)
    total = sum(file.bytes for shard in shards for file in shard.files)
    print(generating[0], writing[0] - held, seconds, total)


def read(folder: Path) -> list[Bar]:
    """Every value of a store into memory of our own, and `cat` of its files: the time of each; best of five."""
    files = sorted(folder.glob("*.arrow"))
    size, lines = sum(file.stat().st_size for file in files), []
    for state in ("warm", "cold"):
        wall, processor = {"cat": math.inf, "rows": math.inf}, {"cat": math.inf, "rows": math.inf}
        for _ in range(5):
            for who in wall:
                if state == "cold":
                    _forget(files)
                with Clock() as clock:
                    if who == "cat":
                        _cat(files)
                    else:
                        _all_rows(folder)
                wall[who], processor[who] = min(wall[who], clock.wall), min(processor[who], clock.processor)
        share = wall["cat"] / wall["rows"]
        said = (
            f"{size / 1e9:.2f} GB in {wall['rows']:.2f} s (processor {processor['rows']:.2f} s); "
            f"cat {wall['cat']:.2f} s ({processor['cat']:.2f} s): {share:.0%} of its rate"
        )
        lines.append(Bar(f"reading all values, {state}", said, "80 %", share >= 0.8))
    return lines


def rehash(folder: Path) -> list[Bar]:
    """What hashing while writing saves: reading the files once more for their MD5, as DVC would."""
    import hashlib

    files = sorted(folder.glob("*.arrow"))
    begun = time.perf_counter()
    for file in files:
        with file.open("rb") as content:
            hashlib.file_digest(content, "md5")
    seconds, size = time.perf_counter() - begun, sum(file.stat().st_size for file in files)
    return [
        Bar(
            "reading again for MD5, spared",
            f"{size / seconds / 1e9:.2f} GB/s: {seconds / size * 1e12 / 60:.0f} minutes for 1 TB",
        )
    ]


def opening(home: Path) -> list[Bar]:
    """Open a store of 50 GB, take its first rows, ask `steerwright status` in a project that has it as an output."""
    checkout = make_checkout(home / "project")
    folder = checkout.root / "artifacts" / "demo" / "rows"
    size = write_sparse_store(folder, BIG)
    begun = time.perf_counter()
    store = open_store(folder)
    opened = time.perf_counter() - begun
    values, _ = next(store.blocks(store.hookpoints[0]))
    first = time.perf_counter() - begun
    assert len(values)
    up_to_date.note(checkout.root, "demo", ["artifacts/demo/rows"])
    asked = []
    for _ in range(5):
        with Clock() as clock:
            said = checkout.call(checkout.steerwright("status", "demo")).stdout
        asked.append(clock)
        assert "up to date" in said, said
    begun = time.perf_counter()
    batches = sum(1 for _ in store.places(store.hookpoints[0]))
    found = time.perf_counter() - begun
    middle = statistics.median(clock.wall for clock in asked)
    processor = statistics.median(clock.processor for clock in asked)
    said = f"{middle * 1000:.0f} ms (processor {processor * 1000:.0f} ms)"
    files = sum(len(shard.files) for shard in store.manifest.shards)
    return [
        Bar(f"opening {size / 1e9:.0f} GB ({files} files, sparse)", f"{opened * 1000:.0f} ms", "1 s", opened < 1),
        Bar("... and having its first rows", f"{first * 1000:.0f} ms"),
        Bar(f"finding its {batches:,} record batches", f"{found * 1000:.0f} ms"),
        Bar("steerwright status on it, median of 5", said, "300 ms", middle < 0.3),
    ]  # fmt: skip


def _all_rows(folder: Path) -> None:
    """Every value of every row in our memory, once."""
    store = open_store(folder)
    for hookpoint in store.hookpoints:
        for _ in store.stream(hookpoint):
            pass


def _cat(files: list[Path]) -> None:
    subprocess.run(["cat", *map(str, files)], check=True, stdout=subprocess.DEVNULL)


def _forget(files: list[Path]) -> None:
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _model() -> LoadedModel:
    return load_once(SPEC, fingerprint(SPEC).digest)


def _prompts(count: int) -> list[CollectedPrompt]:
    nouns = ("house", "car", "boat", "horse", "cat")
    return [
        CollectedPrompt(id=f"train{i}-{nouns[i % 5]}", prompt=f"a {nouns[i % 5]} in winter", split="train", seed=i)
        for i in range(count)
    ]


def _shards(prompts: list[CollectedPrompt]) -> Iterator[tuple[str, list[CollectedPrompt]]]:
    for number, start in enumerate(range(0, len(prompts), COLLECTION.prompts_per_shard)):
        yield f"train-{number:06d}", prompts[start : start + COLLECTION.prompts_per_shard]


def _writer(folder: Path, name: str, prompts: list[CollectedPrompt], model: LoadedModel) -> ShardWriter:
    return ShardWriter(
        folder, name, "0" * 64, [one.id for one in prompts], dtype=dtype_name(model.dtype),
        hookpoints=[str(hookpoint) for hookpoint in COLLECTION.parsed()], batch_bytes=BATCH_BYTES,
    )  # fmt: skip


def _manifest(model: LoadedModel, shards: list[Shard]) -> Manifest:
    return Manifest(
        complete=True, model=model.fingerprint, dtype=dtype_name(model.dtype), provenance={}, shards=tuple(shards)
    )


if __name__ == "__main__":
    sys.exit(main())
