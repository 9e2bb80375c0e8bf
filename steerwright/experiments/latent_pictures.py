"""Pictures of erased concepts, drawn in shards that any process can do: unsteered ones first, then what edits change.

A picture in which the gates of an edit never hold is the unsteered picture: up to the first step at which one holds
nothing has changed. So the unsteered shards note where each edit's gates hold, and only these pictures are drawn again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from steerwright.experiments.draw import Frame, ModelTools, draw
from steerwright.files import atomic_write, save_picture
from steerwright.models.schedule import timesteps
from steerwright.models.spec import ModelSpec
from steerwright.models.threads import same_threads
from steerwright.steering.algebra import Edit
from steerwright.steering.gate_survey import is_gated_by_image, survey
from steerwright.steering.latents.erasure import ErasedConcept, erasing_edits, load_places


class Tools(ModelTools):
    """What pictures are drawn with: the model, and folders with autoencoders and with their concepts' means."""

    saes: Path
    moments: Path

    @classmethod
    def at(cls, spec: ModelSpec, digest: str, saes: Path, moments: Path) -> Tools:
        """The tools for jobs that may run in another folder, or on a machine that sees the same files."""
        model = ModelTools.here(spec, digest)
        return cls(**dict(model), saes=saes.absolute(), moments=moments.absolute())

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
    with survey(model, gated) if gated else nullcontext() as found, same_threads(job.tools.threads):
        images = draw(model, frames, edits)
    for frame, image in zip(frames, images, strict=True):
        save_picture(image, job.folder / frame.path)
    if job.note is not None:
        acts = {
            name: found.acts(name).tolist() if found and name in gated else [True] * len(frames) for name in watched
        }
        atomic_write(job.note, lambda path: path.write_text(json.dumps(acts)))
    return "drawn"


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
