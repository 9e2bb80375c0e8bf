"""The weights in models/: the classifier that is the project's ground truth agrees with a person, and all loads."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seasons.label_set import CLIP_SEASON_PHRASES
from seasons.labels import LABELS
from seasons.render import render_all
from seasons.scene import sample_scenes
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.labels import LabelScorer
from steerwright.scoring.perceptual import Perceptual

ROOT = Path(__file__).parents[2]
UNSEEN = 77


@pytest.fixture(scope="module")
def sheet() -> tuple[np.ndarray, list[dict[str, str]]]:
    """Sixty-four generated pictures, and what a person who looked at them said."""
    grid = np.asarray(Image.open(ROOT / "data" / "world" / "sheet.png").convert("RGB"))
    pictures = grid.reshape(8, 64, 8, 64, 3).transpose(0, 2, 1, 3, 4).reshape(64, 64, 64, 3)
    with (ROOT / "data" / "world" / "hand-labels.csv").open(newline="") as file:
        return pictures, list(csv.DictReader(file))


@pytest.mark.parametrize("label", LABELS)
def test_the_classifier_agrees_with_a_person_on_generated_pictures(
    sheet: tuple[np.ndarray, list[dict[str, str]]], label: str
) -> None:
    pictures, by_hand = sheet
    said = LabelScorer.load(ROOT / "models" / "seasons-labels").predict(pictures).names[label]
    assert np.mean([a == row[label] for a, row in zip(said, by_hand, strict=True)]) >= 0.98


def test_the_classifier_reads_rendered_scenes_it_has_not_seen() -> None:
    scenes = sample_scenes(300, UNSEEN)
    found = LabelScorer.load(ROOT / "models" / "seasons-labels").predict(render_all(scenes)).names
    for label in LABELS:
        assert np.mean([a == getattr(s, label) for a, s in zip(found[label], scenes, strict=True)]) >= 0.98


def test_clip_finds_the_season_of_rendered_scenes() -> None:
    scenes = sample_scenes(200, UNSEEN)
    clip = ClipScorer(ROOT / "models" / "seasons-clip")
    names = clip.zero_shot(clip.images(render_all(scenes)), CLIP_SEASON_PHRASES).names
    assert np.mean([a == s.season for a, s in zip(names, scenes, strict=True)]) >= 0.95


def test_the_perceptual_distance_grows_with_the_share_of_another_picture() -> None:
    first, second = render_all(sample_scenes(2, UNSEEN)).astype(float)
    mixed = np.stack([(1 - share) * first + share * second for share in (0.0, 0.1, 0.4, 1.0)]).astype(np.uint8)
    perceptual = Perceptual(ROOT / "models" / "seasons-lpips")
    distances = perceptual.distances(np.repeat(mixed[:1], 4, axis=0), mixed).tolist()
    assert distances[0] == 0
    assert distances == sorted(distances)
    assert distances[3] > distances[1] > 0


def test_the_shipped_configs_name_no_place_of_the_machine_that_made_them() -> None:
    configs = list((ROOT / "models").rglob("config.json"))
    assert len(configs) >= 6
    assert [path for path in configs if "_name_or_path" in path.read_text()] == []
