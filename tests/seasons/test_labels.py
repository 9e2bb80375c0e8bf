"""Prompts that say which labels they name, checked against scenes whose labels are known."""

import numpy as np
import pytest

from seasons.captions import caption, full_caption
from seasons.label_set import SEASONS_WORLD
from seasons.labels import LABELS
from seasons.scene import sample_scenes


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a photo of a red car on a street on a hot summer day", ("summer", "car", "red", "street", None)),
        ("a yellow umbrella inside a room at noon", (None, "umbrella", "yellow", "room", "day")),
        ("a purple house indoors at night", (None, "house", "purple", "room", "night")),
        ("an image of a red tent", (None, "tent", "red", None, None)),
        ("A Blue Boat by the lake in the evening", (None, "boat", "blue", "lake", "sunset")),
        ("a red cat and a blue cat", (None, "cat", None, None, None)),
        ("carpets in catalogues", (None, None, None, None, None)),
    ],
)
def test_labels_of_a_prompt(prompt: str, expected: tuple[str | None, ...]) -> None:
    assert tuple(SEASONS_WORLD.named(prompt).values()) == expected


def test_a_full_caption_names_everything_and_no_caption_names_anything_false() -> None:
    for index, scene in enumerate(sample_scenes(400, seed=1)):
        truth = {label: getattr(scene, label) for label in LABELS}
        assert SEASONS_WORLD.named(full_caption(scene)) == truth
        said = SEASONS_WORLD.named(caption(scene, np.random.default_rng(index)))
        assert {label: value for label, value in said.items() if value is not None}.items() <= truth.items()
