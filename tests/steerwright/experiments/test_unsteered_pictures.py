"""Unsteered pictures, and in which of them an edit acts: the others need not be made again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steerwright.images import PictureFolder
from steerwright.models.attention_blocks import AttentionBlock, attention_blocks
from steerwright.models.generate import generate
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import steered_batches
from steerwright.steering.gates import InImage
from steerwright.steering.operators import Add
from steerwright.vectors.direction import Direction
from tasks.attention.images import NOTE, draw_unsteered


@dataclass(frozen=True)
class One:
    prompt_id: int
    prompt: str
    seed: int


WANTED = [One(5, "a b a", 3), One(7, "b", 4), One(9, "a", 5)]


@pytest.fixture
def block(sd21: Any) -> AttentionBlock:
    return next(block for block in attention_blocks(sd21.pipeline) if block.name == "mid.0")


def gated(block: AttentionBlock, threshold: float) -> Edit:
    direction = Direction(torch.eye(block.width)[0], torch.tensor(1.0), torch.tensor(0.0))
    return Edit(block.hookpoint, Add(direction, "unit"), 5.0, gate=InImage(block.hookpoint, direction, threshold))


def drawn(model: Any, folder: Path, edits: dict[str, list[Edit]], batch_size: int = 2) -> Any:
    told: list[int] = []
    found = draw_unsteered(model, PictureFolder(folder), "unsteered", WANTED, edits, batch_size, told.append)
    return found, told


def threshold(model: Any, block: AttentionBlock) -> float:
    """A threshold that some of the pictures exceed at some step, and some at none."""
    from steerwright.activations.record import record

    with record(model.pipeline, [block.hookpoint]) as recording:
        generate(model, [one.prompt for one in WANTED], [one.seed for one in WANTED])
    highest = torch.stack([tensor[len(WANTED) :].mean(1)[:, 0] for tensor in recording[block.hookpoint]]).amax(0)
    low, high = highest.sort().values[:2]
    return float(low + high) / 2


def test_an_edit_changes_the_pictures_that_are_named_and_no_others(sd21: Any, block: Any, tmp_path: Path) -> None:
    edit = gated(block, threshold(sd21, block))
    found, told = drawn(sd21, tmp_path, {"some": [edit]})
    assert told == [2, 3] and len(found["some"]) == 2
    prompts, seeds = [one.prompt for one in WANTED], [one.seed for one in WANTED]
    plain = generate(sd21, prompts, seeds, batch_size=2)
    steered = generate(sd21, prompts, seeds, batch_size=2, edits=steered_batches(sd21, [edit]))
    for one, before, after in zip(WANTED, plain, steered, strict=True):
        assert np.array_equal(PictureFolder(tmp_path).load(one.prompt_id, one.seed, "unsteered"), before)
        assert np.array_equal(before, after) == ((one.prompt_id, one.seed) not in found["some"])


def test_an_edit_without_a_gate_by_image_acts_in_all(sd21: Any, block: Any, tmp_path: Path) -> None:
    free = Edit(block.hookpoint, gated(block, 0.0).operator, 1.0)
    found, _ = drawn(sd21, tmp_path, {"free": [free], "closed": [gated(block, 1e6)], "open": [gated(block, -1e6)]})
    everything = {(one.prompt_id, one.seed) for one in WANTED}
    assert found == {"free": everything, "closed": set(), "open": everything}


def test_what_is_there_is_not_drawn_again_and_what_is_not_known_is(sd21: Any, block: Any, tmp_path: Path) -> None:
    edits = {"open": [gated(block, -1e6)]}
    first, _ = drawn(sd21, tmp_path, edits)
    assert drawn(sd21, tmp_path, edits) == (first, [])
    # Another edit, a picture that is gone, a note that a kill kept from being written: drawn again, with the same note.
    note = (tmp_path / NOTE).read_text()
    assert drawn(sd21, tmp_path, {**edits, "closed": [gated(block, 1e6)]})[1] == [2, 3]
    (tmp_path / NOTE).unlink()
    assert drawn(sd21, tmp_path, edits) == (first, [2, 3])
    PictureFolder(tmp_path).path(7, 4, "unsteered").unlink()
    assert drawn(sd21, tmp_path, edits) == (first, [2, 3])
    assert (tmp_path / NOTE).read_text() == note and json.loads(note) == {"open": ["5-3", "7-4", "9-5"]}


def test_a_picture_is_taken_over_byte_by_byte(tmp_path: Path) -> None:
    source, folder = PictureFolder(tmp_path / "a"), PictureFolder(tmp_path / "b")
    path = source.save(3, 4, "unsteered", np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    taken = folder.take(3, 4, "steered_0", source, "unsteered")
    assert taken == folder.path(3, 4, "steered_0") and taken.read_bytes() == path.read_bytes()
    assert list(taken.parent.iterdir()) == [taken]
