"""Samples drawn under conditions, and in which pictures an edit acts: the others need not be drawn again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from steerwright.dag import map_shards
from steerwright.experiments import draw as drawing
from steerwright.experiments.draw import Condition, GivenEdits, ModelTools, draw
from steerwright.images import Sample, picture_path
from steerwright.models.attention_blocks import AttentionBlock, attention_blocks
from steerwright.models.generate import generate
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import steered_batches
from steerwright.steering.gates import InImage
from steerwright.steering.operators import Add
from steerwright.vectors.direction import Direction

PROMPTS, SEEDS = ["a b a", "b", "a"], [3, 4, 5]
SAMPLES = [
    Sample(prompt, seed, picture_path("unsteered", 5, seed)) for prompt, seed in zip(PROMPTS, SEEDS, strict=True)
]
PLAIN = [(Condition("unsteered"), SAMPLES)]


@pytest.fixture(autouse=True)
def two_a_batch(sd21: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "load_once", lambda spec, digest: sd21)
    monkeypatch.setattr(drawing, "BATCH", 2)


@pytest.fixture
def block(sd21: Any) -> AttentionBlock:
    return next(block for block in attention_blocks(sd21.pipeline) if block.name == "mid.0")


def gated(block: AttentionBlock, threshold: float) -> Edit:
    direction = Direction(torch.eye(block.width)[0], torch.tensor(1.0), torch.tensor(0.0))
    return Edit(block.hookpoint, Add(direction, "unit"), 5.0, gate=InImage(block.hookpoint, direction, threshold))


def tools(model: Any) -> ModelTools:
    return ModelTools.here(model.spec, model.fingerprint.digest)


def watching(model: Any, folder: Path, edits: dict[str, Edit]) -> tuple[dict[str, list[bool]], list[str]]:
    """Where each edit acts, and what became of each shard, with all pictures drawn unsteered."""
    told: list[str] = []
    acts = draw(
        tools(model), PLAIN, folder, lambda work, jobs, what: told.extend(map_shards(work, jobs, what)),
        watched=[Condition(name, GivenEdits((edit,))) for name, edit in edits.items()], notes=folder / "notes",
    )  # fmt: skip
    return {name: [held[one.path] for one in SAMPLES] for name, held in acts.items()}, told


def threshold(model: Any, block: AttentionBlock) -> float:
    """A threshold that some of the pictures exceed at some step, and some at none."""
    from steerwright.activations.record import record

    with record(model.pipeline, [block.hookpoint]) as recording:
        generate(model, PROMPTS, SEEDS)
    highest = torch.stack([tensor[len(SEEDS) :].mean(1)[:, 0] for tensor in recording[block.hookpoint]]).amax(0)
    low, high = highest.sort().values[:2]
    return float(low + high) / 2


def test_an_edit_changes_the_pictures_that_are_named_and_no_others(sd21: Any, block: Any, tmp_path: Path) -> None:
    edit = gated(block, threshold(sd21, block))
    acts, told = watching(sd21, tmp_path, {"some": edit})
    assert told == ["drawn", "drawn"] and sum(acts["some"]) == 2
    plain = generate(sd21, PROMPTS, SEEDS, batch_size=2)
    steered = generate(sd21, PROMPTS, SEEDS, batch_size=2, edits=steered_batches(sd21, [edit]))
    for one, before, after, acted in zip(SAMPLES, plain, steered, acts["some"], strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / one.path)), before)
        assert np.array_equal(before, after) == (not acted)


def test_an_edit_without_a_gate_by_image_acts_in_all(sd21: Any, block: Any, tmp_path: Path) -> None:
    free = Edit(block.hookpoint, gated(block, 0.0).operator, 1.0)
    acts, _ = watching(sd21, tmp_path, {"free": free, "closed": gated(block, 1e6), "open": gated(block, -1e6)})
    assert acts == {"free": [True] * 3, "closed": [False] * 3, "open": [True] * 3}


def test_a_shard_is_drawn_again_where_a_picture_or_its_note_is_gone(sd21: Any, block: Any, tmp_path: Path) -> None:
    edits = {"open": gated(block, -1e6)}
    first, _ = watching(sd21, tmp_path, edits)
    assert watching(sd21, tmp_path, edits) == (first, ["kept", "kept"])
    note = (tmp_path / "notes" / "0.json").read_text()
    (tmp_path / "notes" / "0.json").unlink()
    assert watching(sd21, tmp_path, edits) == (first, ["drawn", "kept"])
    (tmp_path / SAMPLES[2].path).unlink()
    assert watching(sd21, tmp_path, edits) == (first, ["kept", "drawn"])
    assert (tmp_path / "notes" / "0.json").read_text() == note == '{"open": [true, true]}'
    # Another edit than the note knows of.
    again, told = watching(sd21, tmp_path, {**edits, "closed": gated(block, 1e6)})
    assert told == ["drawn", "drawn"] and again == {**first, "closed": [False] * 3}


def test_each_sample_has_the_strength_and_the_words_of_its_condition(sd21: Any, block: Any, tmp_path: Path) -> None:
    edit = Edit(block.hookpoint, gated(block, 0.0).operator, 20.0)
    steered = [Sample(PROMPTS[0], 3, f"{times}.png", times) for times in (0.0, 1.0, 1.5)]
    plan = [
        (Condition("steered", GivenEdits((edit,))), steered),
        (Condition("negative", negative_prompt="b b"), [Sample(PROMPTS[0], 3, "negative.png")]),
    ]
    draw(tools(sd21), plan, tmp_path, map_shards)
    expected = [
        generate(sd21, PROMPTS[:1], [3])[0],
        *(
            generate(sd21, PROMPTS[:1], [3], edits=steered_batches(sd21, [Edit(edit.hookpoint, edit.operator, far)]))[0]
            for far in (20.0, 30.0)
        ),
        generate(sd21, PROMPTS[:1], [3], negative_prompt="b b")[0],
    ]
    names = ["0.0.png", "1.0.png", "1.5.png", "negative.png"]
    found = [np.asarray(Image.open(tmp_path / name)).astype(int) for name in names]
    for image, wanted in zip(found, expected, strict=True):
        assert np.abs(image - wanted).max() <= 1  # another batch rounds otherwise
    changes = [int(np.abs(found[0] - other).max()) for other in found[1:]]
    assert min(changes[:2]) > 1 and changes[2] > 0, changes
