"""Scenes, their pictures and their captions agree with each other."""

import numpy as np
import pytest

from seasons.captions import MENTIONS, caption, full_caption
from seasons.labels import LABELS
from seasons.render import render, render_with_mask
from seasons.scene import sample_scene, sample_scenes
from seasons.train_text_encoder import named_labels

UNSAID = tuple(len(values) for values in LABELS.values())


def test_the_same_scene_gives_the_same_bytes() -> None:
    scene = sample_scenes(3, seed=1)[2]
    assert render(scene).tobytes() == render(scene).tobytes()


def test_a_longer_list_of_scenes_starts_with_the_shorter_one() -> None:
    assert sample_scenes(7, seed=4)[:3] == sample_scenes(3, seed=4)


def test_fixing_one_label_leaves_the_other_draws_alone() -> None:
    free = sample_scene(np.random.default_rng(8))
    fixed = sample_scene(np.random.default_rng(8), season="winter")
    assert fixed.season == "winter"
    assert (fixed.object, fixed.x, fixed.seed) == (free.object, free.x, free.seed)


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="weather"):
        sample_scene(np.random.default_rng(0), weather="rain")


def test_pixels_outside_the_mask_do_not_depend_on_the_objects_colour() -> None:
    # Same seed, same strokes: only paint may differ. Snow caps and flakes lie in front, so take summer.
    for name in LABELS["object"]:
        pair = [
            sample_scene(np.random.default_rng(5), object=name, colour=c, season="summer", time="day")
            for c in ("red", "blue")
        ]
        (red, mask), (blue, same_mask) = (render_with_mask(scene) for scene in pair)
        assert (mask == same_mask).all()
        # Half-covered border pixels blend paint with the background, so look one pixel away from the mask.
        grown = np.zeros_like(mask)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                grown |= np.roll(mask, (dy, dx), (0, 1))
        assert (red[~grown] == blue[~grown]).all()
        assert (red[mask] != blue[mask]).any()


def test_objects_fill_a_visible_part_of_the_picture() -> None:
    for name in LABELS["object"]:
        mask = render_with_mask(sample_scene(np.random.default_rng(2), object=name, place="meadow", scale=1.0))[1]
        rows = np.flatnonzero(mask.any(1))
        assert rows.max() - rows.min() >= 0.35 * 64, name


def test_winter_ground_is_brighter_than_summer_ground() -> None:
    scenes = [
        sample_scene(np.random.default_rng(3), season=s, place="meadow", time="day") for s in ("winter", "summer")
    ]
    winter, summer = (render(scene)[-4:].mean() for scene in scenes)
    assert winter > 200 > summer


def test_every_label_that_a_caption_names_is_the_scenes_own() -> None:
    rng = np.random.default_rng(11)
    for _ in range(3000):
        scene = sample_scene(rng)
        for said, unsaid, true in zip(named_labels(caption(scene, rng)), UNSAID, scene.label_indices(), strict=True):
            assert said in (true, unsaid)


def test_captions_leave_labels_unsaid_as_often_as_declared() -> None:
    rng = np.random.default_rng(12)
    named = np.array([named_labels(caption(sample_scene(rng), rng)) for _ in range(4000)])
    said = dict(zip(LABELS, (named != np.array(UNSAID)).mean(0), strict=True))
    # One caption in 25 names no object, and then no colour and no time either; seasons are said there too.
    assert said["object"] == pytest.approx(0.96, abs=0.015)
    assert said["season"] == pytest.approx(MENTIONS["season"], abs=0.03)
    assert said["place"] == pytest.approx(MENTIONS["place"], abs=0.03)
    assert said["colour"] == pytest.approx(0.96 * MENTIONS["colour"], abs=0.03)


def test_the_full_caption_names_all_five_labels() -> None:
    for scene in sample_scenes(200, seed=6):
        assert named_labels(full_caption(scene)) == scene.label_indices()


@pytest.mark.parametrize(
    ("text", "season"),
    [
        ("a winter scene of a red car", "winter"),
        ("a car on a sunny summer day", "summer"),
        ("a purple cat in fall", "autumn"),
        ("a red tower on a street", None),
    ],
)
def test_seasons_are_read_from_texts(text: str, season: str | None) -> None:
    index = named_labels(text)[0]
    assert (None if index == 4 else LABELS["season"][index]) == season
