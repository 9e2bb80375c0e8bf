"""How long it takes to select features out of an S matrix as large as a FLUX.1-dev dictionary's, and in what memory.

    python -m benchmarks.features             49,152 latents, 5,000 images of 2,500 prompts, on 2 threads
    python -m benchmarks.features --quick     4,096 latents, 1,000 images
    python -m benchmarks.features --labels    also matches labels
    python -m benchmarks.features --capture   also what capturing costs (benchmarks.flux_capture, minutes)

The matrix is synthetic and written to disk by the writer that the pipeline uses; selection reads it from there, in a
process of its own: statistics of all latents, coherence of all latents against 2,000 random sets of each size, ten
features with four images each. Beside it the same by a loop over features, as seed 004 does it, over a slice of the
latents, and its time scaled up to all. Memory is the most that the process holds, libraries and mapped pages of the
matrix included. Exit code 1 above 60 s or 4 GB (or where capturing misses its own bar).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.clock import Clock, watched_memory
from steerwright.features.coherence import coherence
from steerwright.features.labels import label_matches
from steerwright.features.s_matrix import SMatrix, SMatrixSource, SMatrixWriter
from steerwright.features.selection import select_features
from steerwright.features.statistics import ALIVE_ABOVE, statistics
from steerwright.sae.latents import SparseLatents
from steerwright.sae.site import Site

SECONDS, BYTES = 60.0, 4e9
WIDTH, TOKENS, PLACES = 512, 64, 64
"""Width of the embeddings; tokens of an image, and latents that are active on each of them."""
PER_PROMPT, TOP, LEAST, SLICE = 2, 20, 6, 300


def write_matrix(folder: Path, latents: int, images: int) -> None:
    """A matrix in which latents are active in very few images up to a third of them."""
    ids = tuple(f"p{image // PER_PROMPT}-{image % PER_PROMPT}" for image in range(images))
    source = SMatrixSource(
        sae="synthetic", key="0", size=latents, site=Site(), step=13, grid=(8, 8), images=ids, top_share=0.1
    )
    generator = torch.Generator().manual_seed(0)
    with SMatrixWriter(folder, source) as writer:
        for image in range(images):
            # Low numbers are drawn more often than high ones.
            drawn = (torch.rand(TOKENS, PLACES, generator=generator) ** 2 * latents).long().sort(1).values
            repeated = torch.zeros_like(drawn, dtype=torch.bool)
            repeated[:, 1:] = drawn[:, 1:] == drawn[:, :-1]
            values = torch.rand(TOKENS, PLACES, generator=generator) + 0.01
            writer.add(
                image, SparseLatents(drawn.masked_fill(repeated, -1), values.masked_fill(repeated, 0.0), latents)
            )
    embeddings = np.random.default_rng(0).normal(size=(images, WIDTH)).astype(np.float32) + 0.5
    np.save(folder / "embeddings.npy", embeddings)


def select(folder: Path, labels: bool) -> None:
    """Select features from the matrix in `folder` in this process, and print seconds and bytes as JSON."""
    embeddings = np.load(folder / "embeddings.npy")
    found: dict[str, float] = {}
    with watched_memory() as memory:
        s = SMatrix.open(folder)
        prompts = [image // PER_PROMPT for image in range(len(s))]
        with Clock() as clock:
            statistics(s)
        found["statistics"] = clock.wall
        with Clock() as clock:
            table = coherence(s.max, embeddings, prompts, alive_above=ALIVE_ABOVE, most=TOP, least=LEAST)
        found["coherence"] = clock.wall
        with Clock() as clock:
            select_features(table, s.max, prompts, alive_above=ALIVE_ABOVE)
        found["selection"] = clock.wall
    found["bytes"] = float(memory[0])
    with Clock() as clock:
        by_loop(s.max, embeddings, prompts, table["coherence"].to_numpy())
    found["loop"] = clock.wall * s.size / min(SLICE, s.size)
    if labels:
        shown = {f"label {n}": [str(image // PER_PROMPT % (n + 2)) for image in range(len(s))] for n in range(5)}
        with watched_memory() as memory, Clock() as clock:
            label_matches(s.max, shown, prompts)
        found["labels"], found["labels bytes"] = clock.wall, float(memory[0])
    sys.stdout.write(json.dumps(found) + "\n")


def by_loop(
    values: NDArray[np.float32], embeddings: NDArray[np.float32], prompts: list[int], expected: NDArray[np.float64]
) -> None:
    """Statistics, best images and coherence of each latent of a slice, one after the other; checks that they agree."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    size = values.shape[1]
    for latent in np.linspace(0, size - 1, min(SLICE, size)).astype(int).tolist():
        column = np.asarray(values[:, latent])
        active = column > ALIVE_ABOVE
        _ = active.mean(), column.mean(), column.std(), column.max()
        seen: set[int] = set()
        chosen: list[int] = []
        for image in np.argsort(-column).tolist():
            if not active[image] or len(chosen) == TOP:
                break
            if prompts[image] not in seen:
                seen.add(prompts[image])
                chosen.append(image)
        if len(chosen) >= LEAST:
            cosine = unit[chosen] @ unit[chosen].T
            found = cosine[np.triu_indices(len(chosen), 1)].mean()
            if abs(found - expected[latent]) > 1e-5:
                raise SystemExit(f"latent {latent}: the loop finds {found}, the pipeline {expected[latent]}")


def table_of(found: dict[str, float], written: float, what: str) -> Table:
    table = Table(title=what)
    for column in ("", "seconds", "GB at most"):
        table.add_column(column, justify="left" if not column else "right")
    total = found["statistics"] + found["coherence"] + found["selection"]
    gigabytes = f"{found['bytes'] / 1e9:.2f}"
    table.add_row("the matrix, written image by image", f"{written:.1f}", "")
    table.add_row("statistics and top images of all latents", f"{found['statistics']:.1f}", "")
    table.add_row("coherence against random sets", f"{found['coherence']:.1f}", "")
    table.add_row("selection", f"{found['selection']:.1f}", "")
    table.add_row(f"all three (bar {SECONDS:.0f} s, {BYTES / 1e9:.0f} GB)", f"{total:.1f}", gigabytes)
    table.add_row("the same by a loop over features, scaled up", f"{found['loop']:.0f}", "")
    table.add_row("times as fast", f"{found['loop'] / total:.0f}", "")
    if "labels" in found:
        table.add_row(
            "label matches, 5 labels, 20 shufflings", f"{found['labels']:.1f}", f"{found['labels bytes'] / 1e9:.2f}"
        )
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--latents", type=int, default=49_152)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--quick", action="store_true", help="4,096 latents, 1,000 images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--labels", action="store_true", help="also match labels")
    parser.add_argument("--capture", action="store_true", help="also measure what capturing costs")
    parser.add_argument("--folder", type=Path, help="where the matrix is written; default: a temporary folder")
    parser.add_argument("--select", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.select is not None:
        select(options.select, options.labels)
        return 0
    latents, images = (4096, 1000) if options.quick else (options.latents, options.images)
    with tempfile.TemporaryDirectory(prefix="steerwright-features-", dir=options.folder) as name:
        begun = time.perf_counter()
        write_matrix(Path(name), latents, images)
        written = time.perf_counter() - begun
        command = [sys.executable, "-m", "benchmarks.features", "--select", name, "--threads", str(options.threads)]
        command += ["--labels"] if options.labels else []
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    Console(width=120).print(
        table_of(found, written, f"{latents:,} latents, {images:,} images, {options.threads} threads")
    )
    met = found["statistics"] + found["coherence"] + found["selection"] <= SECONDS and found["bytes"] <= BYTES
    if options.capture:
        sys.stdout.flush()
        met &= subprocess.run([sys.executable, "-m", "benchmarks.flux_capture"]).returncode == 0
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
