"""Vectors in the layout of CASteer and steering-hogs, read and written: pickles of step, place, block.

A dict from the step (0, 1, ...: the UNet forwards of a run, counted) to a dict from the place (down, mid, up) to a list
with one vector for each cross-attention block of that place, in the order in which they run. The vectors have length 1,
so how far the concept's means lie apart is not known: `norm` is 1. They were taken from the cond half and averaged over
the tokens; their authors apply them to both halves. Source: arXiv:2503.09630.
"""

import pickle
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from steerwright.errors import UserError
from steerwright.models.attention_blocks import PLACES, AttentionBlock, attention_blocks
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.schedule import timesteps
from steerwright.vectors.direction import Direction
from steerwright.vectors.formats.restricted_pickle import PickledArray, read_pickle
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

ESTIMATOR = "imported-mean_difference"
# Schedulers know 1000 timesteps; SDXL has 70 blocks.
MOST_STEPS, MOST_BLOCKS, MOST_VALUES = 2000, 1000, 1 << 27

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class PickleLayout:
    """What such a file holds: for every step, the vectors of each place. Checked in itself, not yet against a model."""

    path: Path
    steps: tuple[Mapping[str, Sequence[Vector]], ...]


def read_layout(path: Path) -> PickleLayout:
    """Read the pickle at `path`, running nothing in it.

    Raises UserError as `read_pickle` does, and one that names step, place and block for what is not in the layout:
    missing steps, foreign places, anything else than vectors of length 1 (or zeros: no direction there).
    """
    found = read_pickle(path)
    if type(found) is not dict or not found:
        raise _not_the_layout(path, f"it holds {_kind(found)}, not a dict of steps")
    if len(found) > MOST_STEPS:
        raise _not_the_layout(path, f"it has {len(found)} steps, more than any schedule")
    missing = next((step for step in range(len(found)) if step not in found), None)
    if missing is not None:
        raise _not_the_layout(path, f"it has {len(found)} entries, but none for step {missing}")
    for step in range(len(found)):
        _check_step(path, step, found[step])
    # Before any is converted: a small file may name one large vector many times.
    values = sum(len(v.values) for places in found.values() for vectors in places.values() for v in vectors)
    if values > MOST_VALUES:
        raise _not_the_layout(path, f"it has more than {MOST_VALUES} numbers")
    return PickleLayout(path, tuple(_step(path, step, found[step]) for step in range(len(found))))


def imported_vectors(
    layout: PickleLayout, pipeline: Any, model: Fingerprint, *, concept: str, steps: int | None = None
) -> SteeringVectors:
    """The vectors of `layout` for the cross-attention blocks of `pipeline`: one slot for each step and block.

    `steps`: the number of steps of the run that they were made in, by default as many as the file has. A scheduler that
    visits more timesteps than that (PNDM) goes on with the last vector, as the authors' code does; a file with a single
    step (turbo) serves for all. Raises UserError where number or width of the vectors is not that of the blocks.
    """
    blocks = attention_blocks(pipeline)
    schedule = timesteps(pipeline, steps or len(layout.steps))
    if len(layout.steps) > len(schedule):
        raise UserError(
            f"{layout.path} has vectors for {len(layout.steps)} steps, but a run of {model.name} with {steps} steps "
            f"has only {len(schedule)}; correct --steps."
        )
    for step, places in enumerate(layout.steps):
        _check_model(layout.path, step, places, blocks)
    directions: dict[VectorKey, Direction] = {}
    for block in blocks:
        for step, places in enumerate(layout.steps):
            vector = places[block.place][block.number]
            if vector.any():
                unit = torch.from_numpy(vector.astype(np.float64))
                slot = VectorKey(block.hookpoint, steps=(step, step), branch="cond")
                directions[slot] = Direction((unit / unit.norm()).float(), torch.tensor(1.0))
    if not directions:
        raise UserError(f"{layout.path} holds nothing but zeros.")
    return SteeringVectors(concept, model, ESTIMATOR, "mean", directions, schedule[: len(layout.steps)])


def as_layout(vectors: SteeringVectors, pipeline: Any) -> dict[int, defaultdict[str, list[Vector]]]:
    """`vectors` in the layout of steering-hogs, for the cross-attention blocks of `pipeline`.

    Vectors for several steps are repeated; a block or step without one gets zeros, which edit nothing. Where there are
    vectors of both halves, those of the cond half are taken: the layout has one. Norms, origins and controls are lost.
    Raises UserError for vectors that are for anything else than cross-attention blocks of this model.
    """
    blocks = attention_blocks(pipeline)
    known = {block.hookpoint for block in blocks}
    foreign = [hookpoint for hookpoint in vectors.hookpoints if hookpoint not in known]
    if foreign:
        raise UserError(
            f"The vectors for {vectors.concept!r} cannot be exported to this layout, which knows cross-attention only: "
            f"they hold one at {foreign[0]}. The npz format takes any."
        )
    by_block: dict[Any, list[VectorKey]] = defaultdict(list)
    for slot in vectors.directions:
        if slot.branch != "uncond":
            by_block[slot.hookpoint].append(slot)
    if not by_block:
        raise UserError(
            f"The vectors for {vectors.concept!r} are all of the uncond half, which this layout cannot say."
        )
    layout: dict[int, defaultdict[str, list[Vector]]] = {}
    for step in range(len(vectors.timesteps or (0.0,))):
        layout[step] = defaultdict(list)
        for block in blocks:
            due = (s for s in by_block[block.hookpoint] if s.steps is None or s.steps[0] <= step <= s.steps[1])
            found = next((vectors.directions[slot].unit for slot in due), torch.zeros(block.width))
            layout[step][block.place].append(found.numpy().copy())
    return layout


def to_pickle(vectors: SteeringVectors, pipeline: Any) -> bytes:
    """`as_layout`, pickled as the authors' code reads it (protocol 4: Python 3.4 and newer)."""
    return pickle.dumps(as_layout(vectors, pipeline), protocol=4)


def _check_step(path: Path, step: int, places: Any) -> None:
    if type(places) is not dict or not places:
        raise _not_the_layout(path, f"step {step} holds {_kind(places)}, not a dict of places")
    for place, vectors in places.items():
        if place not in PLACES:
            named = repr(place[:40]) if isinstance(place, str) else _kind(place)
            raise _not_the_layout(path, f"step {step} has the place {named}; there are {', '.join(PLACES)}")
        if type(vectors) is not list or len(vectors) > MOST_BLOCKS:
            raise _not_the_layout(path, f"step {step}, {place} holds {_kind(vectors)}, not a list of vectors")
        for number, vector in enumerate(vectors):
            if not isinstance(vector, PickledArray) or len(vector.shape) != 1:
                raise _not_the_layout(path, f"step {step}, {place}.{number} is {_kind(vector)}, not a vector")


def _step(path: Path, step: int, places: Mapping[str, Sequence[PickledArray]]) -> dict[str, list[Vector]]:
    return {
        place: [_vector(path, f"step {step}, {place}.{number}", vector) for number, vector in enumerate(vectors)]
        for place, vectors in places.items()
    }


def _vector(path: Path, where: str, found: PickledArray) -> Vector:
    values = found.values.astype(np.float64)
    length = float(np.linalg.norm(values))
    if not np.isfinite(length):
        raise _not_the_layout(path, f"{where} holds values that are not finite")
    # Half precision is off by a thousandth.
    if length != 0 and abs(length - 1) > 0.01:
        raise _not_the_layout(path, f"{where} has the length {length:.4g}, not 1")
    return values.astype(np.float32)


def _check_model(
    path: Path, step: int, places: Mapping[str, Sequence[Vector]], blocks: Sequence[AttentionBlock]
) -> None:
    for place in PLACES:
        found, expected = len(places.get(place, ())), sum(block.place == place for block in blocks)
        if found != expected:
            raise UserError(
                f"{path} belongs to another model: at step {step} it has {found} vectors for {place}, but this model "
                f"has {expected} cross-attention blocks there."
            )
    for block in blocks:
        width = len(places[block.place][block.number])
        if width != block.width:
            raise UserError(
                f"{path} belongs to another model: at step {step} the vector of block {block.name} has {width} values, "
                f"but that block ({block.hookpoint}) has {block.width}."
            )


def _kind(found: Any) -> str:
    if isinstance(found, PickledArray):
        return f"an array of shape {list(found.shape)}"
    return "nothing" if found is None else f"a {type(found).__name__}"


def _not_the_layout(path: Path, problem: str) -> UserError:
    return UserError(
        f"{path} is no file of steering-hogs or CASteer: {problem}. These hold a dict of steps, of down, mid and up, "
        "of lists of vectors."
    )
