"""Pictures of erased concepts, drawn in shards that any process can do: unsteered ones first, then what edits change.

A picture in which the gates of an edit never hold is the unsteered picture: up to the first step at which one holds
nothing has changed. So the unsteered shards note where each edit's gates hold, and only these pictures are drawn again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from steerkit.activations.collect_latents import load_once
from steerkit.models.generate import generate
from steerkit.models.load import LoadedModel
from steerkit.models.schedule import timesteps
from steerkit.models.spec import ModelSpec
from steerkit.steering.apply import steered_batches
from steerkit.steering.edit import Edit
from steerkit.steering.gate_survey import is_gated_by_image, survey
from steerkit.steering.latent_erasure import ErasedConcept, erasing_edits, load_places

BATCH = 16


class Frame(BaseModel):
    """One picture to draw: from `prompt` and `seed` to the file `path`, within the folder of pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    seed: int
    path: str


class Tools(BaseModel):
    """What pictures are drawn with: the model, and folders with autoencoders and with their concepts' means."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: ModelSpec
    digest: str
    saes: Path
    moments: Path
    threads: int
    """Threads that torch computes with: another number rounds otherwise, so every process takes the planning one's."""

    @classmethod
    def here(cls, spec: ModelSpec, digest: str, saes: Path, moments: Path) -> Tools:
        """The tools for jobs that may run in another folder, or on a machine that sees the same files."""
        source = Path(spec.source)
        return cls(
            spec=spec.model_copy(update={"source": str(source.absolute())}) if source.exists() else spec,
            digest=digest, saes=saes.absolute(), moments=moments.absolute(), threads=torch.get_num_threads(),
        )  # fmt: skip

    def load(self) -> LoadedModel:
        """The model, loaded once in each thread."""
        return load_once(self.spec, self.digest)

    def edits(self, erased: Sequence[ErasedConcept]) -> list[Edit]:
        """The edits that erase these concepts on the model's own schedule."""
        steps = len(timesteps(self.load().pipeline, self.spec.steps))
        return erasing_edits(erased, load_places(self.saes, self.moments), steps)


class PictureJob(BaseModel):
    """A shard: `frames` drawn with the edits of `erased` into `folder`; `note` is the file that says where the gates of
    each of the `watched` edits held, for shards without an edit of their own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tools: Tools
    folder: Path
    frames: tuple[Frame, ...]
    erased: tuple[ErasedConcept, ...] = ()
    watched: dict[str, tuple[ErasedConcept, ...]] = {}
    note: Path | None = None


def draw_pictures(job: PictureJob) -> Literal["kept", "drawn"]:
    """Draw the frames of `job`, and write its note, unless they are there already. Files come whole or not at all."""
    missing = [frame for frame in job.frames if not (job.folder / frame.path).is_file()]
    if not missing and (job.note is None or job.note.is_file()):
        return "kept"
    # With a note to write, all of them: where gates held is known of what is drawn only.
    frames = job.frames if job.note is not None else missing
    model = job.tools.load()
    edits = job.tools.edits(job.erased)
    watched = {name: job.tools.edits(erased) for name, erased in job.watched.items()}
    gated = {name: some for name, some in watched.items() if is_gated_by_image(some)}
    with survey(model, gated) if gated else nullcontext() as found, same_threads(job.tools):
        images = draw(model, frames, edits)
    for frame, image in zip(frames, images, strict=True):
        _save(image, job.folder / frame.path)
    if job.note is not None:
        acts = {
            name: found.acts(name).tolist() if found and name in gated else [True] * len(frames) for name in watched
        }
        _whole(job.note, lambda path: path.write_text(json.dumps(acts)))
    return "drawn"


def draw(model: LoadedModel, frames: Sequence[Frame], edits: Sequence[Edit]) -> NDArray[np.uint8]:
    """Pixels [n, h, w, 3] of `frames` with `edits`, each from its own seed."""
    return generate(
        model, [frame.prompt for frame in frames], [frame.seed for frame in frames], batch_size=BATCH,
        edits=steered_batches(model, edits) if edits else None,
    )  # fmt: skip


@contextmanager
def same_threads(tools: Tools) -> Iterator[None]:
    """Compute with as many threads as the planning process."""
    before = torch.get_num_threads()
    torch.set_num_threads(tools.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def where_edits_act(jobs: Sequence[PictureJob]) -> dict[str, dict[str, bool]]:
    """Watched name -> path of the unsteered picture -> whether its gates held, from the notes of finished `jobs`."""
    found: dict[str, dict[str, bool]] = {}
    for job in jobs:
        if job.note is None:
            continue
        noted: Mapping[str, list[bool]] = json.loads(job.note.read_text())
        for name, acts in noted.items():
            paths = [frame.path for frame in job.frames]
            found.setdefault(name, {}).update(zip(paths, acts, strict=True))
    return found


def in_shards(frames: Sequence[Frame], size: int = BATCH) -> list[tuple[Frame, ...]]:
    """The frames in portions of at most `size`, in order."""
    return [tuple(frames[start : start + size]) for start in range(0, len(frames), size)]


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    _whole(path, lambda partial: Image.fromarray(pixels).save(partial, format="PNG"))


def _whole(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
