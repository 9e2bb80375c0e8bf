"""Pictures to draw, and how each comes to its file: whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from steerwright.models.generate import generate
from steerwright.models.load import LoadedModel, load_once
from steerwright.models.spec import ModelSpec
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import check_branches, steered_batches

BATCH = 16


class Frame(BaseModel):
    """One picture to draw: from `prompt` and `seed` to the file `path`, within the folder of pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    seed: int
    path: str


class ModelTools(BaseModel):
    """The model that pictures are drawn with, for jobs that any process can do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: ModelSpec
    digest: str
    threads: int
    """Threads that torch computes with: another number rounds otherwise, so every process takes the planning one's."""

    @classmethod
    def here(cls, spec: ModelSpec, digest: str) -> ModelTools:
        """For jobs that may run in another folder, or on a machine that sees the same files."""
        source = Path(spec.source)
        if source.exists():
            spec = spec.model_copy(update={"source": str(source.absolute())})
        return cls(spec=spec, digest=digest, threads=torch.get_num_threads())

    def load(self) -> LoadedModel:
        """The model, loaded once in each thread."""
        return load_once(self.spec, self.digest)


def draw(model: LoadedModel, frames: Sequence[Frame], edits: Sequence[Edit]) -> NDArray[np.uint8]:
    """Pixels [n, h, w, 3] of `frames` with `edits`, each from its own seed. UserError as of `check_branches`."""
    check_branches(model, edits)
    return generate(
        model, [frame.prompt for frame in frames], [frame.seed for frame in frames], batch_size=BATCH,
        edits=steered_batches(model, edits) if edits else None,
    )  # fmt: skip


def in_shards(frames: Sequence[Frame], size: int = BATCH) -> list[tuple[Frame, ...]]:
    """The frames in portions of at most `size`, in order."""
    return [tuple(frames[start : start + size]) for start in range(0, len(frames), size)]
